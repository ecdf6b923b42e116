"""What the names of folders and arrays say of splits: train, valid and test in their usual spellings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from latlas.errors import InputError
from latlas.text import listed

ORDER = ("train", "valid", "test")
_SPELLINGS = {
    "train": "train training trainval trn",
    "valid": "valid val validate validation vld dev development",
    "test": "test tests testing tst t10k holdout heldout",
    "eval": "eval evaluation",
}
_PART_OF = {word: part for part, words in _SPELLINGS.items() for word in words.split()}
_WORD = re.compile(rf"({'|'.join(_PART_OF)})(?:sets?|data|dataset|split|images?|imgs?|samples?)?\d*")
_IMAGES_TR = re.compile(r"((?i:images?)[\W_]*)T([rs])(?![^\W_])")  # imagesTr and imagesTs, of medical sets
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
# Words and numbers beside a split's name that say nothing of their own.
FILLERS = frozenset(
    ("set", "sets", "data", "dataset", "split", "subset", "part", "folder", "images", "image", "imgs", "img",
     "pictures", "pics", "photos", "files", "samples", "examples", "full", "x", "v", "the")
)  # fmt: skip
# What stands beside splits and is neither a split nor a class.
_ASIDE = frozenset(
    ("unlabeled", "unlabelled", "unsup", "unsupervised", "extra", "extras", "pred", "predict", "prediction",
     "predictions", "other", "others")
)  # fmt: skip
_MAY_BE_CLASSES = frozenset(("train", "trains", "valid"))  # trains beside buses, valid beside invalid


def pieces(name: str) -> list[str]:
    """The words of a name in lower case, `trainSet-2` as trainset and 2: a word that names a split stays whole."""
    joined = re.sub(r"(?i)\b(hold|held)[\W_]+out\b", "holdout", name)
    joined = _IMAGES_TR.sub(lambda found: f"{found[1]}_{'train' if found[2] == 'r' else 'test'}", joined)
    found: list[str] = []
    for chunk in re.split(r"[\W_]+", joined):
        found += [chunk] if part_word(chunk.lower()) else _PIECE.findall(chunk)
    return [piece.lower() for piece in found]


def part_word(piece: str) -> str:
    """The split that one word names: train, valid, test or eval; empty where it names none."""
    match = _WORD.fullmatch(piece)
    return _PART_OF[match[1]] if match else ""


def split_word(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The split that a name speaks of, and what else it says: `seg_train` gives train and (seg,); None without one."""
    words = pieces(name)
    parts = {part_word(word) for word in words} - {""}
    if parts == {"train", "valid"}:  # what many call trainval
        parts = {"train"}
    rest = [word for word in words if not (part_word(word) or word in FILLERS or word.isdecimal())]
    return (parts.pop(), tuple(rest)) if len(parts) == 1 else None


def splits_among(names: Collection[str], deep: Collection[str] = ()) -> dict[str, str]:
    """The split of each name where the names are the splits of one data set; empty where they are not splits.

    One of `deep` has folders of its own, and is no class called train or valid.

    Raises InputError, with what to do, for names that look like splits and cannot be used as such.
    """
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for name in sorted(names):
        if found := split_word(name):
            groups.setdefault(found[1], {})[name] = found[0]
    groups = {rest: group for rest, group in groups.items() if not rest or len(set(group.values())) > 1}
    if not groups or _is_a_class(groups, names, deep):
        return {}
    alike = [name for group in groups.values() for name in group]
    others = sorted(set(names).difference(alike))
    if len(groups) > 1:
        raise InputError(f"{_quoted(alike)} look like splits of several data sets; give one of them")
    if others:
        raise InputError(
            f"{_quoted(alike)} {'looks like a split' if len(alike) == 1 else 'look like splits'}, but {_quoted(others)}"
            f" beside {'it' if len(alike) == 1 else 'them'} is none of train, valid and test; keep only the splits"
            " there, or give other names to what is a class"
        )
    return one_each(next(iter(groups.values())))


def one_each(parts: Mapping[str, str]) -> dict[str, str]:
    """The splits of names, once it is settled whether `eval` is for validation or testing.

    Raises InputError where two names speak of one split.
    """
    held_out = "valid" if "test" in parts.values() else "test"
    settled = {name: held_out if part == "eval" else part for name, part in parts.items()}
    for part in ORDER:
        names = [name for name, other in settled.items() if other == part]
        if len(names) > 1:
            raise InputError(f"{_quoted(names)} all name the {part} split; keep one, or put them together")
    return settled


def _is_a_class(
    groups: Mapping[tuple[str, ...], Mapping[str, str]], names: Collection[str], deep: Collection[str]
) -> bool:
    alike = [name for group in groups.values() for name in group]
    others = {name.lower() for name in names if name not in alike}
    one = len(alike) == 1 and alike[0].lower() in _MAY_BE_CLASSES and alike[0] not in deep
    return one and bool(others) and not others & _ASIDE


def _quoted(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names])
