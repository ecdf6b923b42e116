"""One rule of units: what goes into a trained run in data units comes out in data units, whatever type holds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import latlas
from latlas.cli import run as command_line
from latlas.errors import InputError

RNG = np.random.default_rng(0)
SIZE = (10, 8)


def ramps(n: int = 160, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Images (n, 10, 8, channels) of two numbers each, inside [0, 1], with both ends reached."""
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, n, 1, 1, channels))
    down, across = np.linspace(0, 1, SIZE[0])[:, None, None], np.linspace(0, 1, SIZE[1])[None, :, None]
    x = (a * down + b * across) / 2
    x[:4], x[4:8] = 0, 1
    return x.astype(np.float32)


def rows(n: int = 200) -> np.ndarray:
    """A table (n, 5) of columns in very different units, of rank two."""
    hidden = np.random.default_rng(1).normal(size=(n, 2)) @ np.random.default_rng(2).normal(size=(2, 5))
    return hidden * [1, 10, 100, 0.1, 1000] + [5, -50, 0, 3, 1e6]


@dataclass(frozen=True)
class Case:
    """Data of one kind and range, and the options to train on them."""

    x: np.ndarray
    options: dict[str, Any]


SMALL = {"pictures.draw": False, "data.validation": 0, "network.name": "mlp", "network.hidden": [32],
         "training.snapshot_every": 1000}  # fmt: skip
CASES = {
    "grey bytes": Case(np.rint(255 * ramps()).astype(np.uint8), {}),
    "RGB bytes": Case(np.rint(255 * ramps(channels=3)).astype(np.uint8), {}),
    "16-bit integers": Case(np.rint(65535 * ramps()).astype(np.uint16), {}),
    "floats in [0, 1]": Case(ramps(), {}),
    "floats in [-1, 1]": Case(2 * ramps() - 1, {}),
    "RGB floats in [-1, 1]": Case(2 * ramps(channels=3) - 1, {}),
    "floats up to 255": Case(255 * ramps(), {}),
    "counts from -1000 to 3000": Case(np.rint(4000 * ramps() - 1000).astype(np.int16), {}),
    "a table": Case(rows(), {}),
    "a table of bytes": Case(np.rint(255 * ramps()[:, ::3, 2].reshape(160, -1)).astype(np.uint8), {}),
    "vectors": Case(ramps()[:, :, 4, 0], {"kind": "vector"}),
    "0/1 images": Case((ramps() > RNG.random((160, *SIZE, 1)) / 2).astype(np.uint8), {}),
}
Trained = tuple[latlas.Run, np.ndarray]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """A run of each case, trained when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("units"), {}

    def of(name: str) -> Trained:
        if name not in made:
            case, stem = CASES[name], str(list(CASES).index(name))
            np.save(folder / f"{stem}.npy", case.x)
            made[name] = latlas.train(
                folder / f"{stem}.npy", out=folder / stem, latent=2, steps=60, lr=0.01, quiet=True, quick=True,
                settings=SMALL, **case.options,
            )  # fmt: skip
        return made[name], CASES[name].x[:12]

    return of


def close(a: Any, b: Any, x: np.ndarray, share: float = 1e-4) -> None:
    """Whether two arrays are the same but for rounding, in units of the data's spread."""
    np.testing.assert_allclose(
        np.asarray(a, float), np.asarray(b, float), atol=share * float(x.std()), rtol=1e-4
    )


@pytest.mark.parametrize("case", list(CASES))
def test_what_goes_in_in_data_units_comes_out_in_data_units(
    case: str, trained: Callable[[str], Trained]
) -> None:
    run, x = trained(case)
    model = latlas.load(run.path)
    whole = CASES[case].x
    back = model.reconstruct(whole)
    assert back.shape == whole.shape
    # By columns for a table, whose columns have units of their own.
    axes = 0 if model.item.kind == "table" else None
    error = ((back - whole.astype(float)) ** 2).mean(axes) / whole.var(axes, dtype=float)
    assert np.all(error < 0.9), error  # better than the mean; in other units it would be far above
    codes = model.encode(x)
    close(model.decode(codes), model.reconstruct(x), whole)
    # The model's scale is the same thing, by the scaling.
    scaled = model.item.scaling.apply(x)
    np.testing.assert_allclose(model.encode(scaled, units="model"), codes, atol=1e-5)
    on_scale = model.reconstruct(scaled, units="model")
    close(model.item.scaling.invert(on_scale), model.reconstruct(x), whole)
    if model.item.kind == "image":
        assert on_scale.min() >= 0 and on_scale.max() <= 1  # noqa: PT018
    made = [model.sample(6), model.sample(6, noise=True)]
    low, high = float(whole.min()), float(whole.max())
    if model.item.kind != "table":
        assert made[0].min() >= low - 1e-3 * (high - low)
        assert made[0].max() <= high + 1e-3 * (high - low)
    # What comes out goes in again.
    assert model.encode(model.decode(codes)).shape == codes.shape


def forms(x: np.ndarray) -> dict[str, Any]:
    """The same items in every type that holds them."""
    images = x.ndim == 4
    tensor = torch.from_numpy(np.ascontiguousarray(x.astype(np.int32) if x.dtype == np.uint16 else x))
    held = {
        "big-endian": x.astype(x.dtype.newbyteorder(">")),
        "Fortran order": np.asfortranarray(x),
        "negative strides": x[::-1].copy()[::-1],
        "float64": x.astype(np.float64),
        "a list of arrays": list(x),
        "a tuple of tensors": tuple(tensor),
        "nested lists": x.tolist(),
        "a tensor": tensor,
        "a tensor with a gradient": tensor.double().requires_grad_(),
    }
    if images:
        held["channels first"] = np.moveaxis(x, -1, 1)
        held["a tensor, channels first"] = tensor.movedim(-1, 1)
    if images and x.shape[3] == 1:
        held |= {"without channels": x[..., 0], "a tensor without channels": tensor[..., 0]}
        held |= {"flat": x.reshape(len(x), -1), "a frame": pd.DataFrame(x.reshape(len(x), -1))}
    if x.ndim == 2:
        held["a frame"] = pd.DataFrame(x)
    if images and x.dtype == np.uint8 and x.max() > 1:
        held["pictures"] = [Image.fromarray(item.squeeze()) for item in x]
    return held


@pytest.mark.parametrize("case", list(CASES))
def test_every_type_that_holds_the_same_values_gives_the_same(
    case: str, trained: Callable[[str], Trained]
) -> None:
    run, x = trained(case)
    model = latlas.load(run.path)
    codes, back = model.encode(x), model.reconstruct(x)
    for name, held in forms(x).items():
        got = model.encode(held)
        assert isinstance(got, torch.Tensor) == isinstance(held, torch.Tensor), name
        np.testing.assert_allclose(np.asarray(got), codes, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(model.posterior(held).mean.numpy(), codes, atol=1e-5, err_msg=name)
        if case in ("grey bytes", "a table"):  # each call loads the run
            made = latlas.encode(run, held, quiet=True).arrays["mean"]
            np.testing.assert_allclose(made, codes, atol=1e-5, err_msg=name)
        again = model.reconstruct(held)
        # The difference of what came out and what went in is an error in data units, whatever the type.
        if isinstance(held, np.ndarray | torch.Tensor | pd.DataFrame):
            assert tuple(again.shape) == tuple(held.shape), name
            assert type(again) is type(held), name
            with torch.no_grad():
                error = np.asarray((again - held) ** 2).mean()
                np.testing.assert_allclose(
                    error, ((back - x.astype(float)) ** 2).mean(), rtol=1e-3, err_msg=name
                )
        if not isinstance(held, torch.Tensor):
            assert model(held).elbo.shape == (len(x),), name


@pytest.mark.parametrize("case", ["grey bytes", "a table", "floats in [-1, 1]"])
def test_codes_of_every_type_are_decoded_alike(case: str, trained: Callable[[str], Trained]) -> None:
    run, x = trained(case)
    model = latlas.load(run.path)
    z = model.encode(x)
    expected = model.decode(z)
    for held in (
        z.tolist(),
        list(z),
        pd.DataFrame(z),
        z.astype(">f4"),
        z.astype(np.float64),
        z[::-1].copy()[::-1],
    ):
        close(model.decode(held), expected, CASES[case].x)
        close(latlas.decode(run, held, quiet=True).arrays["decoded"], expected, CASES[case].x)
    tensors = model.decode(torch.from_numpy(z))
    close(tensors.movedim(1, -1) if tensors.ndim == 4 else tensors, expected, CASES[case].x)


WRONG = {
    "None": (None, "got NoneType"),
    "a number": (5, "got int"),
    "a NumPy number": (np.float32(5), "got float32"),
    "a dictionary": ({"x": 1}, "got dict"),
    "a generator": ((i for i in range(3)), "got generator"),
    "bytes": (b"abc", "got bytes"),
    "no items": ([], "no items"),
    "no rows": (np.zeros((0, *SIZE, 1), np.uint8), "no items"),
    "ragged lists": ([[1, 2], [3]], "different lengths"),
    "arrays of two shapes": ([np.zeros((3, 3)), np.zeros((4, 3))], r"different shapes \(\(3, 3\), \(4, 3\)\)"),
    "texts in an array": (np.array([["a"]]), "expected numbers|items of shape"),
    "objects": (np.full((2, *SIZE, 1), None), "expected numbers"),
    "another shape": (np.zeros((2, 9, 9, 1)), r"items of shape \(9, 9, 1\), and this model takes \(10, 8, 1\)"),
    "a single item": (np.zeros((*SIZE, 1), np.uint8), r"a single item of shape \(10, 8, 1\); give a batch of one"),
    "a single item without channels": (np.zeros(SIZE, np.uint8), "a single item"),
    "a tensor of another shape": (torch.zeros(2, 1, 9, 9), r"\(1, 9, 9\).*\(10, 8, 1\) or \(1, 10, 8\)"),
    "one NaN": (np.where(np.arange(160).reshape(2, *SIZE, 1) == 99, np.nan, 1.0), "NaN or infinite values in 1 of 2"),
    "complex numbers": (np.zeros((2, *SIZE, 1), complex), "complex"),
    "masked values": (np.ma.masked_less(np.arange(160).reshape(2, *SIZE, 1), 5), "5 masked values"),
    "a sparse tensor": (torch.zeros(2, *SIZE).to_sparse(), "sparse"),
    "a path that is not there": (Path("nothing/here.npy"), "neither a named set"),
    "a frame with a text": (pd.DataFrame({"a": ["x"], "b": [1]}), "not numbers in column 'a'"),
    "a frame with a gap": (pd.DataFrame({"a": [1.0, np.nan]}), "items of shape|NaN"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", list(WRONG))
def test_what_cannot_be_taken_is_refused_alike_everywhere(
    wrong: str, trained: Callable[[str], Trained]
) -> None:
    run, _ = trained("grey bytes")
    model = latlas.load(run.path)
    given, message = WRONG[wrong]
    calls = [model.encode, model.posterior, model.reconstruct, lambda x: latlas.encode(run, x, quiet=True),
             lambda x: latlas.reconstruct(run, x, quiet=True)]  # fmt: skip
    if not isinstance(given, torch.Tensor):
        calls.append(model)
    if given is None:
        calls = calls[:3]  # no source: the run's own data
    for call in calls:
        with pytest.raises(InputError, match=message) as caught:
            call(given)
        assert "\n" not in str(caught.value)


def test_calling_the_model_on_tensors_that_are_not_on_its_scale(trained: Callable[[str], Trained]) -> None:
    model = latlas.load(trained("grey bytes")[0].path)
    with pytest.raises(InputError, match="a tensor of type uint8"):
        model(torch.zeros(2, 1, *SIZE, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"items of shape \(10, 8\): this model takes \(1, 10, 8\)"):
        model(torch.zeros(2, *SIZE))
    with pytest.raises(InputError, match="units = unit: expected data or model"):
        model.encode(torch.zeros(2, 1, *SIZE), units="unit")


OTHER_SCALES = [
    ("floats in [-1, 1]", lambda x: np.rint(255 * (x + 1) / 2).astype(np.uint8), "another scale"),
    ("floats in [-1, 1]", lambda x: 255 * (x + 1) / 2, "another scale"),
    ("floats in [-1, 1]", lambda x: (x + 1) / 2, "another scale"),
    ("RGB floats in [-1, 1]", lambda x: np.rint(255 * (x + 1) / 2).astype(np.uint8), "another scale"),
    ("floats in [0, 1]", lambda x: np.rint(255 * x).astype(np.uint8), "divide them by 255"),
    ("floats in [0, 1]", lambda x: 2 * x - 1, "outside; this model takes values inside"),
    ("grey bytes", lambda x: x / 255, "multiply them by 255"),
    ("grey bytes", lambda x: x / 127.5 - 1, "whole numbers from 0 to 255"),
    ("grey bytes", lambda x: x.astype(np.uint16) * 257, "whole numbers from 0 to 255"),
    ("grey bytes", lambda x: x > 100, "True and False"),
    ("16-bit integers", lambda x: (x // 257).astype(np.uint8), "multiply them by 257"),
    ("16-bit integers", lambda x: x / 65535, "multiply them by 65535"),
    ("floats up to 255", lambda x: x / 255, "another scale"),
    ("0/1 images", lambda x: x * np.uint8(255), "divide them by 255"),
]


@pytest.mark.parametrize(("case", "change", "message"), OTHER_SCALES)
def test_values_on_another_scale_are_refused_with_the_reason(
    case: str, change: Callable[[np.ndarray], np.ndarray], message: str, trained: Callable[[str], Trained],
    tmp_path: Path,
) -> None:  # fmt: skip
    run, _ = trained(case)
    other = change(CASES[case].x)
    np.save(tmp_path / "other.npy", other)
    model = latlas.load(run.path)
    tensor = torch.from_numpy(other.astype(np.int32) if other.dtype == np.uint16 else other)
    for call in (
        lambda: model.reconstruct(other),
        lambda: model.encode(tensor),
        lambda: latlas.reconstruct(run, tmp_path / "other.npy", quiet=True),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_an_anomaly_is_neither_clipped_nor_silent(
    trained: Callable[[str], Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained("floats in [-1, 1]")
    x = CASES["floats in [-1, 1]"].x[:50].copy()
    usual = latlas.evaluate(run, ["distortion"], source=x, quiet=True)["distortion"]["value"]
    x[7, 3, 3] = 5.0
    np.save(tmp_path / "x.npy", x)
    assert (
        command_line(
            ["encode", str(run.path), str(tmp_path / "x.npy"), "--out", str(tmp_path / "c.npz"), "--json"]
        )
        == 0
    )
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["outside"], result["items_outside"], result["clipped"], result["items"]) == (1, 1, 0, 50)
    assert "1 value in 1 of 50 items beyond the training range -1 to 1 (farthest: 5); not clipped" in said.err
    out = latlas.reconstruct(run, x, quiet=True).arrays
    assert out["original"][7, 3, 3] == 5
    record = latlas.evaluation_of(run, ["distortion"], source=x, quiet=True)
    assert record["numbers"]["distortion"]["value"] > usual
    assert (record["outside"], record["clipped"]) == (1, 0)


def test_a_likelihood_of_values_inside_the_unit_interval_says_what_it_clips(tmp_path: Path) -> None:
    x = 2 * ramps() - 1
    np.save(tmp_path / "x.npy", x)
    run = latlas.train(tmp_path / "x.npy", out=tmp_path / "run", latent=2, steps=5, quick=True, quiet=True,
                       settings={"likelihood.name": "bernoulli", "pictures.draw": False})  # fmt: skip
    x[7, 3, 3] = 5.0
    record = latlas.evaluation_of(run, [], source=x, quiet=True)
    assert (record["outside"], record["clipped"]) == (1, 1)


def test_far_out_values_of_a_table_are_counted_and_said(
    trained: Callable[[str], Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    run, x = trained("a table")
    far = x.copy()
    far[3, 2] = 1e5
    about = latlas.encode(run, far).about
    assert (about["outside"], about["items_outside"], about["clipped"]) == (1, 1, 0)
    said = capsys.readouterr().err
    assert "1 value in 1 of 12 items more than 10 standard deviations" in said
    assert "(farthest: 100000 in column 2); not clipped" in said


def test_files_say_their_units(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    run, x = trained("floats in [-1, 1]")
    calls = {
        "reconstruction": lambda out: latlas.reconstruct(run, x, out=out, quiet=True),
        "samples": lambda out: latlas.sample(run, 5, out=out, quiet=True),
        "decoded": lambda out: latlas.decode(run, [[0.0, 1.0]], out=out, quiet=True),
        "images": lambda out: latlas.morph(run, 0, 3, source=x, out=out, quiet=True),
    }
    for name, call in calls.items():
        call(tmp_path / f"{name}.npz")
        with np.load(tmp_path / f"{name}.npz") as arrays:
            assert arrays["units"] == "data"
            assert arrays[name].min() < -0.3, name
        call(tmp_path / f"{name}.png")
    latlas.vary(run, x, 3, out=tmp_path / "v.png", quiet=True)
    # A picture shows the same as the model's scale does: nothing is black or white throughout.
    pixels = np.asarray(Image.open(tmp_path / "decoded.png").convert("L"))
    assert len(np.unique(pixels)) > 20


def test_what_is_changed_of_image_files_is_said(
    trained: Callable[[str], Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, (mode, size) in enumerate((("L", (8, 10)), ("RGB", (8, 10)), ("RGB", (30, 20)))):
        Image.new(mode, size, 9).save(tmp_path / f"{i}.png")
    latlas.encode(trained("grey bytes")[0], tmp_path)
    said = capsys.readouterr().err
    assert "1 of 3 image files resized (short side, then centre crop) to 10x8" in said
    assert "2 of 3 image files made grey" in said
    latlas.encode(trained("floats in [0, 1]")[0], tmp_path / "0.png")
    assert "pixels divided by 255" in capsys.readouterr().err


def test_what_is_changed_of_pictures_in_memory_is_said(
    trained: Callable[[str], Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("grey bytes")[0]
    pictures = [Image.new("L", (8, 10), 9), Image.new("RGB", (8, 10), 9), Image.new("RGB", (30, 20), 9)]
    turned = Image.new("L", (10, 8), 9)
    turned.getexif()[0x0112] = 6  # upright it has the model's size
    latlas.encode(run, [*pictures, turned])
    said = capsys.readouterr().err
    assert "1 of 4 pictures resized (short side, then centre crop) to 10x8" in said
    assert "2 of 4 pictures made grey, as the model takes them" in said
    latlas.encode(run, pictures[1])
    assert "1 of 1 picture made grey" in capsys.readouterr().err
    latlas.encode(run, pictures[0])
    assert capsys.readouterr().err == ""
    latlas.encode(trained("RGB bytes")[0], pictures[0])
    assert "1 of 1 picture in grey taken as RGB" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"items of shape \(10, 8, 3\)"):
        latlas.encode(run, np.zeros((2, 10, 8, 3), np.uint8))
    # Of two files the same is said once.
    for name, picture in (("a", pictures[2]), ("b", pictures[2].rotate(90))):
        picture.save(tmp_path / f"{name}.png")
    latlas.morph(run, tmp_path / "a.png", tmp_path / "b.png")
    assert capsys.readouterr().err.count("made grey") == 1


def test_draws_beyond_the_range_are_kept_and_said_and_pictures_show_them_clipped(
    trained: Callable[[str], Trained], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("grey bytes")[0]
    wide = latlas.train(
        run.config.data.source, out=tmp_path / "run", latent=2, steps=3, quiet=True, quick=True,
        settings=SMALL | {"likelihood.name": "gaussian", "likelihood.sigma": 0.5},
    )  # fmt: skip
    for out in (None, tmp_path / "s.npz", tmp_path / "s.png", tmp_path / "folder"):
        output = latlas.sample(wide, 20, noise=True, out=out)
        x = output.arrays["samples"]
        beyond = int(((x < -1e-3) | (x > 255.003)).sum())
        assert 0.1 < beyond / x.size < 0.6
        said = f"{beyond:,} of {x.size:,} values lie outside the data's range, 0 to 255, as a Gaussian likelihood"
        assert said in capsys.readouterr().err.replace("\n", " ")
        assert said in output.about["notes"][0]
    assert np.asarray(Image.open(tmp_path / "folder" / "01.png")).max() == 255
    latlas.sample(wide, 20)  # means
    latlas.sample(run, 20, noise=True)  # of a likelihood of values inside the range
    assert "outside" not in capsys.readouterr().err


@pytest.mark.parametrize("density", ["", "full"])
def test_rows_with_noise_vary_as_the_data_do(
    trained: Callable[[str], Trained], tmp_path: Path, density: str
) -> None:
    """Var(x) = Var(E[x | z]) + E[sigma^2]: with noise, a column varies by the square of its sigma more."""
    run = trained("a table")[0]
    out, sigma = tmp_path / "s.csv", latlas.load(run).likelihood.sigma.detach().numpy().reshape(-1)
    options: dict[str, Any] = {"seed": 3, "density": density, "quiet": True}
    means = latlas.sample(run, 4000, **options).arrays["samples"]
    drawn = latlas.sample(run, 4000, noise=True, out=out, **options).arrays["samples"]
    scale = np.asarray(latlas.load(run).item.scaling.scale)
    noise = (drawn - means) / scale  # of the same codes
    np.testing.assert_allclose(noise.mean(0), 0, atol=5 * sigma.max() / 4000**0.5)
    np.testing.assert_allclose(noise.std(0), np.broadcast_to(sigma, 5), rtol=0.1)
    assert (drawn.var(0) > means.var(0)).all()
    np.testing.assert_allclose(pd.read_csv(out).to_numpy(), drawn, rtol=1e-6)


def test_a_frame_is_matched_by_name_and_comes_back_as_one(tmp_path: Path) -> None:
    table = pd.DataFrame(rows(), columns=list("abcde"))
    table.to_csv(tmp_path / "t.csv", index=False)
    run = latlas.train(tmp_path / "t.csv", out=tmp_path / "run", steps=60, quiet=True, quick=True, latent=2)
    model = latlas.load(run.path)
    shuffled = table[list("ecabd")].assign(note="text").iloc[5:25]
    np.testing.assert_allclose(model.encode(shuffled), model.encode(table.to_numpy()[5:25]), atol=1e-5)
    back = model.reconstruct(shuffled)
    assert list(back.columns) == list("abcde")
    assert back.index.tolist() == list(range(5, 25))
    error = ((back - table.iloc[5:25]) ** 2).mean() / table.var()
    assert (error < 1).all()
    with pytest.raises(InputError, match="without column 'b' that the model needs"):
        model.encode(table.drop(columns="b"))
    with pytest.raises(InputError, match="more than one column called 'a'"):
        model.encode(pd.concat([table, table[["a"]]], axis=1))
