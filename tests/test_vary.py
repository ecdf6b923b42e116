"""New items like one: noise of the posterior around its code, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import image_dataset, images, made, table_dataset
from PIL import Image

from latlas import cli, figures, inference
from latlas.data import Dataset
from latlas.errors import InputError
from latlas.figures.images import APART
from latlas.models import Model

FAMILIES = ("point", "gaussian", "full-gaussian", "flow")
WIDTHS = np.array([0.5, 1, 2])


def of_family(family: str, data: Dataset) -> tuple[Model, dict[str, Any]]:
    """A model with that posterior, and what `vary` needs beside it."""
    objective = "reconstruction" if family == "point" else "elbo"
    _, model = made(data, posterior__name=family, objective__name=objective, model__latent=3)
    return model, {"spread": WIDTHS} if family == "point" else {}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("channels", [1, 3])
def test_without_noise_all_are_the_reconstruction(family: str, channels: int) -> None:
    data = image_dataset(40, height=9, width=7, channels=channels)
    model, extra = of_family(family, data)
    item = data.test.take(np.array([2]))
    arrays = inference.vary(model, item, 4, scale=0, **extra)
    assert arrays["images"].shape == (4, 9, 7, channels)
    np.testing.assert_allclose(arrays["images"], np.repeat(model.reconstruct(item.x), 4, 0), rtol=1e-5)
    np.testing.assert_array_equal(arrays["original"], item.x)
    np.testing.assert_array_equal(arrays["reconstruction"], model.reconstruct(item.x))


@pytest.mark.parametrize("family", FAMILIES)
def test_codes_are_the_posteriors_with_its_noise_scaled(family: str) -> None:
    data = image_dataset(40)
    model, extra = of_family(family, data)
    item = data.test.take(np.array([1]))
    z = inference.vary(model, item, 1000, scale=1, seed=5, **extra)["z"]
    q = model.posterior(item.x)
    if family == "flow":
        with torch.no_grad():
            noise = torch.randn(20_000, 1, 3, generator=torch.Generator().manual_seed(0))
            want = q.rsample(noise)[:, 0]
        mean, std = want.mean(0).numpy(), want.std(0).numpy()
    else:
        mean, std = q.mean[0].numpy(), WIDTHS if q.stddev is None else q.stddev[0].numpy()
    assert (np.abs(z.mean(0) - mean) < 5 * std / 1000**0.5).all()
    np.testing.assert_allclose(z.std(0), std, rtol=0.12)
    if family != "flow":  # affine in the noise
        far = inference.vary(model, item, 1000, scale=3, seed=5, **extra)["z"]
        np.testing.assert_allclose(far - q.mean[0].numpy(), 3 * (z - q.mean[0].numpy()), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(z, inference.vary(model, item, 1000, scale=1, seed=5, **extra)["z"])
    assert not (z == inference.vary(model, item, 1000, scale=1, seed=6, **extra)["z"]).any()


def test_images_are_the_codes_decoded_and_tables_come_in_their_units() -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)) * [1, 10, 100, 1000]
    for data in (image_dataset(40), table_dataset(x)):
        model, _ = of_family("gaussian", data)
        arrays = inference.vary(model, data.test.take(np.array([3])), 5)
        np.testing.assert_array_equal(arrays["images"], model.decode(arrays["z"]))
    np.testing.assert_array_equal(arrays["original"], x[3:4])


def test_an_autoencoder_needs_a_spread() -> None:
    data = image_dataset(40)
    with pytest.raises(InputError, match="no spread of its own"):
        inference.vary(of_family("point", data)[0], data.test.take(np.array([0])))


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 2), (2, 1, 2), (8, 4, 2), (40, 7, 6)])
def test_the_picture_shows_the_original_above_its_reconstruction_and_all_others(
    count: int, columns: int, rows: int
) -> None:
    levels = np.linspace(0.2, 0.9, count)
    grid = np.ones((count, 6, 6, 1)) * levels[:, None, None, None]
    figure = figures.variations(np.zeros((6, 6, 1)), np.full((6, 6, 1), 0.1), grid, "Variations")
    content = figure.axes[0].images[0].get_array()[..., 0]
    side = int((content[:, 0] == 0).sum())
    assert (content[side + 4 : 2 * side + 4, 0] == 26).all()
    found = sorted(set(np.unique(content).tolist()) - {0, 26, 255})
    assert found == sorted({round(255 * level) for level in levels})
    assert content.shape == (rows * (side + 4) - 4, (columns + 1) * (side + 4) - 8 + APART)
    assert [t.get_text() for t in figure.axes[0].texts] == ["original", "reconstruction"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE of colour photographs of an odd size and an autoencoder of grey ramps, both trained a little."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "pictures").mkdir()
    for i, image in enumerate(images(24, 20, 16, 3)):
        Image.fromarray(image).save(folder / "pictures" / f"{i}.png")
    np.savez(folder / "ramps.npz", x=images(60))
    colours = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    for name in ("other.jpg", "other.webp", "other.tif"):
        Image.fromarray(colours).save(folder / name)
    (folder / "broken.png").write_bytes(b"\x89PNG, but no more")
    (folder / "text.txt").write_text("words")
    common = ["--latent", "2", "--steps", "10", "-q", "--set", "pictures.draw=false"]
    small = {"photos": ["pictures", "--image-size", "13x11", "--set", "network.channels=[4, 4]"],
             "ae": ["ramps.npz", "--recipe", "ae", "--set", "network.hidden=[16]"]}  # fmt: skip
    for name, (source, *extra) in small.items():
        assert cli.run(["train", str(folder / source), "--out", str(folder / name), *common, *extra]) == 0
    return folder


@pytest.mark.parametrize("name", ["other.jpg", "other.webp", "other.tif"])
def test_a_photograph_is_varied(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments = ["vary", str(work / "photos"), str(work / name), "-n", "3", "--json", "-q"]
    assert cli.run([*arguments, "--out", str(tmp_path / "v.npz")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["samples"], result["scale"], result["seed"]) == (3, 1, 0)
    arrays = np.load(tmp_path / "v.npz")
    assert arrays["units"] == "data"
    assert {k: arrays[k].shape for k in arrays if k != "units"} == {
        "images": (3, 13, 11, 3), "z": (3, 2), "original": (1, 13, 11, 3), "reconstruction": (1, 13, 11, 3)
    }  # fmt: skip
    assert cli.run([*arguments, "--out", str(tmp_path / "v.png")]) == 0
    with Image.open(tmp_path / "v.png") as image:
        assert image.width > 300


def test_a_row_of_a_split_and_of_a_folder_are_varied(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(work / "ae")
    assert cli.run(["vary", run, "--row", "4", "--out", str(tmp_path / "a.npz"), "-q"]) == 0
    assert "times the standard deviations of the training codes" in capsys.readouterr().out
    assert cli.run(["reconstruct", run, "--out", str(tmp_path / "r.npz"), "-q"]) == 0
    one, all_of_them = np.load(tmp_path / "a.npz"), np.load(tmp_path / "r.npz")
    np.testing.assert_array_equal(one["original"][0], all_of_them["original"][4])
    photos = ["vary", str(work / "photos"), str(work / "pictures"), "--row", "5", "-q"]
    assert cli.run([*photos, "--out", str(tmp_path / "p.npz")]) == 0
    assert cli.run(["vary", run, str(work / "ramps.npz"), "--row", "59", "-q"]) == 0
    assert (work / "ae" / "vary.png").exists()


def test_an_autoencoders_noise_is_as_wide_as_its_training_codes(work: Path) -> None:
    from latlas.runs import Run, dataset_of

    run = Run(work / "ae")
    model = run.model()
    dataset = dataset_of(run)
    one, spread = dataset.test.take(np.array([3])), inference.code_spread(run, model)
    made = inference.vary(model, one, n=1000, scale=0.5, spread=spread)["z"]
    np.testing.assert_allclose(made.mean(0), model.encode(one.x)[0], atol=0.1 * spread.max())
    np.testing.assert_allclose(made.std(0), 0.5 * model.encode(dataset.train.x).std(0), rtol=0.1)


BAD = [
    ("vary", "Missing argument"),
    ("vary W/photos", "--row: the test split has 2 items; say which one"),
    ("vary W/ae W/ramps.npz", "ramps.npz has 60 items; say which one"),
    ("vary W/photos --row 2", "--row 2: rows of the test split are 0 to 1"),
    ("vary W/photos --row -1", "--row -1: rows of"),
    ("vary W/photos W/other.jpg --row 1", "--row 1: rows of"),
    ("vary W/photos --row x", "--row"),
    ("vary W/photos W/none.png", "neither a named set"),
    ("vary W/photos W/broken.png", "broken.png: not an image that Pillow can read"),
    ("vary W/photos W/text.txt", "files of type .txt cannot be read"),
    ("vary W/photos W/ramps.npz --row 1", "items of shape (8, 6, 1), and this model takes (13, 11, 3)"),
    ("vary W/photos --row 1 -n 0", "-n 0: at least 1 is needed"),
    ("vary W/photos --row 1 -n 1001", "at most 1,000"),
    ("vary W/photos --row 1 --scale -1", "--scale -1: expected a number from 0"),
    ("vary W/photos --row 1 --scale nan", "--scale nan: expected a number from 0"),
    ("vary W/photos --row 1 --seed -1", "--seed -1: expected a whole number"),
    ("vary W/photos --row 1 --split dev", "expected train, valid or test"),
    ("vary W/photos --row 1 --out W/x.gif", "expected a name ending in .npz or .png"),
    ("vary W/photos --row 1 --out W/none/x.png", "does not exist"),
]


@pytest.mark.parametrize(("command", "message"), BAD, ids=[c for c, _ in BAD])
def test_what_is_wrong_is_said_in_one_line(
    work: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    before = sorted(work.rglob("*"))
    assert cli.run(command.replace("W/", f"{work}/").split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.strip().splitlines()[-1]
    assert sorted(work.rglob("*")) == before
