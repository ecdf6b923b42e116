"""Snapshots of a training run, and the film that is made of them."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import images
from PIL import Image, ImageSequence

from latlas import animation, checkpoints, cli, experiment, figures, gallery, runs, snapshots
from latlas.config import override, recipe
from latlas.data.order import steps_per_epoch
from latlas.errors import InputError
from latlas.runs import Run

QUICK = {"network.hidden": [16], "pictures.draw": False, "training.steps": 6, "training.batch_size": 20}
QUICK |= {"training.snapshot_every": 2, "model.latent": 2}
POINT = {"posterior.name": "point", "objective.name": "reconstruction"}


def trained(folder: Path, name: str, array: np.ndarray, **settings: Any) -> Run:
    """A short run on ramps with three classes, snapshots at steps 0, 2, 4 and 6."""
    np.savez(folder / f"{name}.npz", x=array, y=np.arange(len(array)) % 3)
    changes = QUICK | {"data.source": str(folder / f"{name}.npz"), "training.threads": 1}
    return experiment.train(override(recipe("vae"), changes | settings, "test"), folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with two, one and four latent dimensions, of an autoencoder, on vectors, RGB images and a table."""
    folder = tmp_path_factory.mktemp("films")
    trained(folder, "two", images(120), **{"training.snapshot_weights": True})
    trained(folder, "one", images(120), **{"model.latent": 1})
    trained(folder, "four", images(120), **{"model.latent": 4})
    trained(folder, "point", images(120), **POINT)
    mmd = {"posterior.name": "point", "objective.name": "infovae"}
    trained(folder, "mmd", images(120, 7, 5, 3), **mmd)
    trained(
        folder,
        "vectors",
        np.random.default_rng(0).integers(0, 256, (120, 9), np.uint8),
        **{"data.kind": "vector"},
    )
    x = np.random.default_rng(0).normal(size=(100, 3))
    (folder / "t.csv").write_text("a,b,c\n" + "\n".join(",".join(map(str, row)) for row in x))
    changes = QUICK | {"data.source": str(folder / "t.csv")}
    experiment.train(override(recipe("vae"), changes, "test"), folder / "table")
    return folder


KEYS = {
    "two": {"samples", "codes", "manifold"}, "one": {"samples", "codes"}, "four": {"samples", "codes"},
    "point": {"codes", "manifold"}, "mmd": {"samples", "codes", "manifold"}, "vectors": {"samples", "codes"},
    "table": {"samples", "codes"},
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_snapshots_hold_what_the_run_has(folder: Path, name: str) -> None:
    run = runs.find(folder / name)
    dataset = runs.dataset_of(run)
    assert [step for step, _ in run.snapshot_files()] == [0, 2, 4, 6]
    for _, path in run.snapshot_files():
        with np.load(path) as archive:
            assert set(archive) == KEYS[name]
            kept = dict(archive)
        assert kept["codes"].shape == (len(dataset.test), run.config.model.latent)
        assert kept["codes"].dtype == np.float32
        of_images = [kept[k] for k in ("samples", "manifold") if k in kept]
        assert all((x.dtype == np.uint8) == (dataset.kind == "image") for x in of_images)
        if "manifold" in kept:
            assert kept["manifold"].shape == (20, 20, *dataset.test.x.shape[1:])
    labels = snapshots.labels(run)
    if name == "table":
        assert labels is None
    else:
        np.testing.assert_array_equal(labels, dataset.test.labels)


def test_the_last_snapshot_is_what_the_last_weights_make(folder: Path) -> None:
    run = runs.find(folder / "two")
    model, dataset = run.model(), runs.dataset_of(run)
    assert run.metrics["best_step"] == 6
    step, codes = run.snapshots("codes")[-1]
    assert step == 6
    np.testing.assert_allclose(codes, model.encode(dataset.test.x), atol=1e-5)
    grid = figures.manifold_codes((20, 20)).codes
    decoded = model.decode(grid.reshape(-1, 2)).reshape(20, 20, 8, 6, 1)
    np.testing.assert_allclose(run.snapshots("manifold")[-1][1], decoded, atol=0.51)
    np.testing.assert_allclose(run.snapshots()[-1][1], model.sample(64, seed=0), atol=0.51)


def test_weights_of_a_snapshot_are_those_that_made_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "two", tmp_path / "run")
    run = runs.find(tmp_path / "run")
    dataset = runs.dataset_of(run)
    assert [step for step, _ in run.snapshot_files(".safetensors")] == [0, 2, 4, 6]
    for step, codes in run.snapshots("codes"):
        np.testing.assert_allclose(codes, snapshots.model_at(run, step).encode(dataset.test.x), atol=1e-6)
    last = run.path / "snapshots" / "00000006.safetensors"
    assert last.read_bytes() == (run.path / checkpoints.WEIGHTS).read_bytes()
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"00000006\.safetensors: damaged"):
        snapshots.model_at(run, 6)
    before, after = runs.prune(run)
    assert before - after > 4 * sum(t.nbytes for t in run.model().state_dict().values())
    assert not run.snapshot_files(".safetensors")
    assert len(run.snapshot_files()) == 4
    assert not runs.find(folder / "four").snapshot_files(".safetensors")  # unless asked for


def test_what_weights_of_snapshots_take_is_said_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "digits", "--latent", "2", "--steps", "4", "--out", str(tmp_path / "run"), "--quick"]
    settings = ["training.snapshot_every=2", "training.snapshot_weights=true", "network.hidden=[8]"]
    assert cli.run([*command, *(word for each in settings for word in ("--set", each))]) == 0
    size = sum(t.nbytes for t in runs.find(tmp_path / "run").model().state_dict().values())
    lines = capsys.readouterr().err.splitlines()
    (said,) = (line for line in lines if "snapshot_weights" in line)
    assert said == (
        f"the weights of 3 snapshots are kept (training.snapshot_weights): {size / 1000:.1f} kB each,"
        f" {3 * size / 1000:.1f} kB in all; latlas prune removes them"
    )
    assert lines.index(said) < next(i for i, line in enumerate(lines) if line.startswith("epoch"))
    refused = [*command[:-3], "--out", str(tmp_path / "no"), "--recipe", "pca", "--set", settings[1]]
    assert cli.run(refused) == 2
    assert "training.snapshot_weights: training.method = pca takes no steps" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_the_plane_of_an_autoencoder_follows_its_own_codes(folder: Path) -> None:
    run = runs.find(folder / "point")
    codes = run.snapshots("codes")[-1][1]
    grid, sentence = gallery.manifold_grid(gallery.settings_of(run.config), codes)
    assert "own codes" in sentence
    decoded = run.model().decode(grid.codes.reshape(-1, 2)).reshape(20, 20, 8, 6, 1)
    np.testing.assert_allclose(run.snapshots("manifold")[-1][1], decoded, atol=0.51)


def test_snapshots_are_small_whatever_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CODE_VALUES", 40)
    monkeypatch.setattr(snapshots, "GRID_VALUES", 48 * 5 * 5 + 7)
    run = trained(tmp_path, "run", images(300), **{"training.steps": 1})
    assert run.snapshots("codes")[0][1].shape == (20, 2)
    assert run.snapshots("manifold")[0][1].shape == (5, 5, 8, 6, 1)
    with np.load(run.path / "snapshots" / "items.npz") as shared:
        np.testing.assert_array_equal(np.arange(300)[shared["index"]] % 3, shared["labels"])


def test_values_outside_the_scale_do_not_wrap_around(tmp_path: Path) -> None:
    gaussian = {"likelihood.name": "gaussian", "likelihood.output": "identity", "likelihood.sigma": 0.5}
    run = trained(tmp_path, "run", images(60), **gaussian, **{"training.steps": 2})
    samples = run.model().sample(64, seed=0)
    assert samples.min() < 0
    np.testing.assert_allclose(run.snapshots()[-1][1], np.clip(samples, 0, 255), atol=0.51)


def test_snapshots_come_every_so_many_epochs(tmp_path: Path) -> None:
    run = trained(
        tmp_path,
        "run",
        images(100),
        **{"training.steps": None, "training.epochs": 5, "training.snapshot_epochs": 2},
    )
    per_epoch = steps_per_epoch(run.info["data"]["train"], 20)
    assert [step for step, _ in run.snapshot_files()] == [0, 2 * per_epoch, 4 * per_epoch, 5 * per_epoch]


def test_what_comes_after_the_checkpoint_is_cut_off_and_the_shared_labels_stay(
    folder: Path, tmp_path: Path
) -> None:
    run = Run(Path(shutil.copytree(folder / "two", tmp_path / "copy")))
    run.cut_back(3, 0)
    assert [step for step, _ in run.snapshot_files()] == [0, 2]
    assert snapshots.labels(run) is not None


def frames_of(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """The frames as RGB, and how long each is shown in milliseconds."""
    pixels, durations = [], []
    with Image.open(path) as film:
        for frame in ImageSequence.Iterator(film):
            pixels.append(np.asarray(frame.convert("RGB")))
            durations.append(int(frame.info["duration"]))
    return pixels, durations


FILMS = {
    "two": ("samples", "codes", "manifold"), "one": ("samples", "codes"), "four": ("samples", "codes"),
    "point": ("codes", "manifold"), "mmd": ("samples", "codes", "manifold"), "vectors": ("samples", "codes"),
    "table": ("codes",),
}  # fmt: skip


@pytest.mark.parametrize("name", FILMS)
def test_a_film_has_a_frame_for_each_snapshot(folder: Path, tmp_path: Path, name: str) -> None:
    film = animation.animate(runs.find(folder / name), tmp_path / "film.webp", size=360, seconds=4)
    assert film.panels == FILMS[name]
    assert film.steps == (0, 2, 4, 6)
    pixels, durations = frames_of(film.path)
    assert durations == [1000, 1000, 1000, 1000]
    assert {p.shape for p in pixels} == {(film.height, film.width, 3)}
    assert max(film.width, film.height) == 360
    for before, after in pairwise(pixels):
        assert np.abs(before.astype(int) - after).max() > 100  # the mark and the line of time alone differ so
        below = slice(film.height // 3, None)
        assert np.abs(before[below].astype(int) - after[below]).mean() > 0.05


def test_a_gif_plays_the_same_and_its_last_frame_stays(folder: Path, tmp_path: Path) -> None:
    film = animation.animate(runs.find(folder / "two"), tmp_path / "film.GIF", "samples", 8, 300)
    pixels, durations = frames_of(film.path)
    assert (len(pixels), film.panels) == (4, ("samples",))
    assert durations == [2000, 2000, 2000, 2000]
    short = animation.animate(runs.find(folder / "two"), tmp_path / "film.gif", "samples", 2, 300)
    assert frames_of(short.path)[1] == [500, 500, 500, 500]
    with Image.open(film.path) as image:
        assert (image.format, image.info["loop"]) == ("GIF", 0)


def test_of_too_many_snapshots_first_last_and_evenly_chosen_ones_are_shown(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(animation, "MOST_PIXELS", 3 * 240 * 240)
    film = animation.animate(runs.find(folder / "two"), tmp_path / "a.webp", "codes", size=240)
    assert film.steps == (0, 4, 6) or film.steps == (0, 2, 6)
    assert len(frames_of(film.path)[0]) == 3


def test_dots_move_on_axes_that_stand_still(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The projection of more dimensions is that of the last frame, for every frame."""
    run, seen = runs.find(folder / "four"), {}
    monkeypatch.setattr(animation.figures, "film", lambda title, panels, marks, size: seen.update(
        panels=panels, marks=marks) or iter([Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9), "red")]))  # fmt: skip
    animation.animate(run, run.path / "x.webp", "codes")
    (dots,) = seen["panels"]
    last = run.snapshots("codes")[-1][1].astype(float)
    axes = np.linalg.svd(last - last.mean(0), full_matrices=False)[2][:2]
    for (_, codes), shown in zip(run.snapshots("codes"), dots.codes, strict=True):
        expected = (codes - last.mean(0)) @ axes.T
        np.testing.assert_allclose(np.abs(shown), np.abs(expected), atol=1e-4)
    assert "PCA of 4 dimensions" in dots.note
    assert "of the last frame" in dots.note
    assert seen["marks"][0] == "before training"
    assert seen["marks"][-1].startswith("step 6  ·  epoch 1.2")


def test_the_axes_show_every_dot_of_every_frame() -> None:
    codes = np.array([[[-9.0, 9.0], [9.0, -9.0]], [[0.1, 0.0], [0.0, 0.1]]])
    first, last = figures.film("f", [figures.Dots("d", "n", codes)], ["", ""], 300)
    corner = (20, 45, first.width // 2, first.height // 2)
    blue = [np.ptp(np.asarray(frame.crop(corner)), axis=-1).max() > 60 for frame in (first, last)]
    assert blue == [True, False]


def test_older_snapshots_with_samples_alone_can_be_played(folder: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(folder / "two", tmp_path / "old")))
    (run.path / "snapshots" / "items.npz").unlink()
    for _, path in run.snapshot_files():
        with np.load(path) as archive:
            samples = archive["samples"]
        np.savez_compressed(path, samples=samples)
    assert len(run.snapshots()) == 4
    assert run.snapshots("codes") == []
    assert animation.animate(run, size=240).panels == ("samples",)
    with pytest.raises(InputError, match="what = codes: nothing to show"):
        animation.animate(run, what="codes")


BAD = [
    ("two", {"out": "film.mp4"}, "expected a name ending in .webp or .gif"),
    ("two", {"out": "none/film.gif"}, "does not exist"),
    ("two", {"what": "sample"}, "what = sample: expected all, samples, codes, manifold"),
    ("two", {"seconds": 0.1}, "seconds = 0.1"),
    ("two", {"seconds": float("nan")}, "seconds = nan"),
    ("two", {"size": 10}, "size = 10"),
    ("table", {"what": "samples"}, "rows of a table are not drawn"),
    ("point", {"what": "samples"}, "a plain autoencoder has no prior"),
    ("four", {"what": "manifold"}, "two latent dimensions"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD, ids=[m for *_, m in BAD])
def test_what_cannot_be_played_is_refused(
    folder: Path, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    given = {**options, "out": tmp_path / options.get("out", "film.webp")}
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        animation.animate(runs.find(folder / name), **given)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_snapshots_or_with_one_is_refused(folder: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(folder / "two", tmp_path / "copy")))
    run.cut_back(0, 0)
    with pytest.raises(InputError, match="one snapshot only"):
        animation.animate(run)
    run.cut_back(-1, 0)
    with pytest.raises(InputError, match="no snapshots"):
        animation.animate(run)
    assert not (run.path / "animation.webp").exists()


@pytest.mark.parametrize("name", ["00000002.npz", "items.npz"])
def test_a_damaged_snapshot_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    run = Run(Path(shutil.copytree(folder / "two", tmp_path / "copy")))
    (run.path / "snapshots" / name).write_bytes(b"not an archive")
    with pytest.raises(InputError, match=rf"{name}: damaged, or not written by latlas"):
        animation.animate(run)


def test_the_command_prints_what_it_made_and_the_report_shows_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "two"
    assert b"data:image/webp" not in (run / "report.html").read_bytes()
    assert cli.run(["animate", str(run), "--size", "300", "--what", "codes", "--json", "-q"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err == ""
    assert result["out"] == str(run / "animation.webp")
    assert (result["frames"], result["steps"], result["panels"]) == (4, [0, 2, 4, 6], ["codes"])
    assert result["bytes"] == (run / "animation.webp").stat().st_size
    assert b"data:image/webp;base64," in (run / "report.html").read_bytes()
