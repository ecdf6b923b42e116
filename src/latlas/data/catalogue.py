"""The named sets: what each is, where its files belong, where they come from and their SHA-256 sums."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from latlas.data.shapes import SHAPES
from latlas.errors import unknown

_DIGITS = tuple("0123456789")
_FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class Named:
    """One named set; `files` maps file name to SHA-256, `mirrors` are addresses that hold all of them."""

    name: str
    title: str
    items: tuple[int, int, int]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    licence: str
    credit: str
    folder: str = ""
    files: dict[str, str] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()
    megabytes: int = 0


def _mnist_like(sums: tuple[str, str, str, str]) -> dict[str, str]:
    return {f"{name}.gz": digest for name, digest in zip(_IDX, sums, strict=True)}


_ALL = (
    Named(
        "fashion-mini",
        "8,000 + 2,000 images of Fashion-MNIST, inside the package",
        (8_000, 0, 2_000),
        (1, 28, 28),
        _FASHION,
        "MIT",
        "Xiao, Rasul and Vollgraf 2017, Zalando SE",
    ),
    Named(
        "digits",
        "1,797 handwritten digits of 8x8 pixels, inside scikit-learn",
        (1_797, 0, 0),
        (1, 8, 8),
        _DIGITS,
        "CC BY 4.0",
        "Alpaydin and Kaynak 1998, UCI Machine Learning Repository",
    ),
    Named(
        "shapes",
        "4,608 coloured shapes, computed: every combination of shape, colour, size and two places",
        (3_686, 0, 922),
        (3, 32, 32),
        SHAPES,
        "Apache-2.0, as latlas",
        "latlas; the idea: dSprites, Matthey, Higgins, Hassabis and Lerchner 2017",
    ),
    Named(
        "mnist",
        "handwritten digits",
        (60_000, 0, 10_000),
        (1, 28, 28),
        _DIGITS,
        "none stated (commonly cited: CC BY-SA 3.0)",
        "LeCun, Cortes and Burges 1998",
        "MNIST/raw",
        _mnist_like(
            (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            )
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        12,
    ),
    Named(
        "fashion-mnist",
        "photographs of garments",
        (60_000, 0, 10_000),
        (1, 28, 28),
        _FASHION,
        "MIT",
        "Xiao, Rasul and Vollgraf 2017, Zalando SE",
        "FashionMNIST/raw",
        _mnist_like(
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            )
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        31,
    ),
    Named(
        "kmnist",
        "cursive Japanese characters (Kuzushiji)",
        (60_000, 0, 10_000),
        (1, 28, 28),
        _KUZUSHIJI,
        "CC BY-SA 4.0",
        "KMNIST Dataset (CODH), doi:10.20676/00000341",
        "KMNIST/raw",
        _mnist_like(
            (
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            )
        ),
        (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        21,
    ),
    Named(
        "flowers102",
        "photographs of flowers, resized to 64x64 unless said otherwise",
        (1_020, 1_020, 6_149),
        (3, 64, 64),
        tuple(str(i) for i in range(1, 103)),
        "no clear licence: photographs from the web, for research use",
        "Nilsback and Zisserman 2008, VGG Oxford",
        "flowers-102",
        {
            "102flowers.tgz": "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
            "setid.mat": "46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
            "imagelabels.mat": "4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
        },
        (
            "https://thor.robots.ox.ac.uk/datasets/flowers-102/",
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        ),
        345,
    ),
)
NAMED: dict[str, Named] = {n.name: n for n in _ALL}


def named(name: str) -> Named:
    """The named set.

    Raises InputError with the nearest name as a hint.
    """
    if name not in NAMED:
        raise unknown("data set", name, NAMED)
    return NAMED[name]


def cache_home() -> Path:
    """Where decoded folders and downloads go: LATLAS_CACHE, else the user's cache folder."""
    return Path(
        os.environ.get("LATLAS_CACHE") or platformdirs.user_cache_dir("latlas", appauthor=False)
    ).expanduser()


def data_home(data_dir: str = "") -> Path:
    """Where named sets are: the folder given, else LATLAS_DATA, else the user's cache folder."""
    given = data_dir or os.environ.get("LATLAS_DATA")
    return Path(given).expanduser().absolute() if given else cache_home().absolute()
