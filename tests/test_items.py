"""Single items: closed forms of their numbers, what these must not depend on, and the tables and pages of them."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import batches, image_dataset, images, made, split, table_dataset
from PIL import Image
from test_evaluation import exact_model, linear_model, set_weights

import latlas
from latlas import cli, inference, items
from latlas.data import DataOptions, Split, load
from latlas.errors import InputError
from latlas.items.finder import nearest_names
from latlas.items.nearest import CodeSpace
from latlas.items.scores import Request, even_noise, score
from latlas.metrics.elbo import evaluate
from latlas.metrics.importance import log_likelihood
from latlas.models import Model

POINT = {"posterior__name": "point", "objective__name": "reconstruction"}
NUMBERS = ("elbo", "distortion", "rate", "squared_error", "code_distance")


def scored(model: Model, items: Split, train: Split, **options: Any) -> dict[str, np.ndarray]:
    return score(model, {"test": items}, train, Request(**options))


# Closed forms


def test_a_linear_model_has_the_elbo_of_each_item_in_closed_form() -> None:
    """p(x | z) = N(W z, s^2), q = N(m, diag v): -E log p = D/2 log 2 pi s^2 + (|x - W m|^2 + v . diag W^T W) / 2 s^2.

    Evenly spread draws of a quadratic come near its mean with few of them.
    """
    x = np.random.default_rng(0).normal(size=(40, 3))
    dataset = table_dataset(x)
    model = linear_model(dataset, 2, 0.5)
    w = torch.tensor([[1.0, 0.2], [-0.3, 0.8], [0.5, 0.1]], dtype=torch.float64)
    to_mean = torch.tensor([[0.4, -0.1, 0.2], [0.0, 0.5, 0.3]], dtype=torch.float64)
    variance = np.array([0.3, 0.05])
    set_weights(
        model.encoder[1], torch.cat([to_mean, torch.zeros(2, 3)]), torch.tensor([0, 0, *np.log(variance)])
    )
    set_weights(model.decoder.output, w, torch.zeros(3))
    found = scored(model, dataset.test, dataset.train, samples=256)
    mean = x @ to_mean.numpy().T
    rate = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(1)
    error = ((x - mean @ w.numpy().T) ** 2).sum(1)
    spread = (variance * (w.numpy() ** 2).sum(0)).sum()
    distortion = 1.5 * math.log(2 * math.pi * 0.25) + (error + spread) / 0.5
    np.testing.assert_allclose(found["rate"], rate, rtol=1e-9)
    np.testing.assert_allclose(found["squared_error"], error / 3, rtol=1e-9)
    np.testing.assert_allclose(found["distortion"], distortion, atol=0.03)
    np.testing.assert_allclose(found["elbo"], -(found["distortion"] + found["rate"]), rtol=1e-12)


@pytest.mark.parametrize("draws", [1, 40])
def test_the_exact_posterior_gives_log_p_of_each_item(draws: int) -> None:
    model, data, exact = exact_model(stretch=1)
    x = split(np.asarray(data.stored))
    found = scored(model, x, x, draws=draws)
    assert found["log_px"].mean() == pytest.approx(exact, abs=1e-9)
    np.testing.assert_allclose(found["effective_sample_size"], draws, rtol=1e-9)
    w = next(model.decoder.output.parameters()).detach().numpy()
    law = torch.distributions.MultivariateNormal(
        torch.tensor([1.0, -2.0, 0.0, 3.0], dtype=torch.float64),
        torch.from_numpy(w @ w.T + 0.25 * np.eye(4)),
    )
    np.testing.assert_allclose(found["log_px"], law.log_prob(torch.from_numpy(x.x)).numpy(), rtol=1e-9)


def test_even_draws_have_the_moments_of_a_standard_normal() -> None:
    noise = even_noise(256, 5, seed=3)[:, 0].numpy()
    assert np.abs(noise.mean(0)).max() < 0.02
    assert np.abs(np.cov(noise.T) - np.eye(5)).max() < 0.1
    assert not np.array_equal(noise, even_noise(256, 5, seed=4)[:, 0].numpy())
    assert even_noise(2, 30_000, seed=0).shape == (2, 1, 30_000)


# What they agree with, and what they must not depend on


def test_means_over_items_are_the_numbers_of_evaluate() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=3, training__precision="float64")
    found = scored(model, dataset.test, dataset.train, samples=64, draws=200)
    data = batches(dataset, "test", model)
    whole = evaluate(model, data, samples=2000)
    assert found["rate"].mean() == pytest.approx(whole.rate, rel=1e-6)
    assert found["squared_error"].mean() == pytest.approx(whole.mse, rel=1e-6)
    # These depend on the draws, which are others: near to the mean of very many.
    assert found["elbo"].mean() == pytest.approx(whole.elbo, abs=0.02)
    weighed = log_likelihood(model, data, 5000)
    assert found["log_px"].mean() == pytest.approx(weighed.log_px, abs=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        POINT,
        {"posterior__name": "full-gaussian"},
        {"posterior__name": "flow", "prior__name": "mixture", "prior__components": 3},
        {"prior__name": "vamp", "prior__components": 3},
    ],
)
def test_a_number_depends_on_its_item_alone(settings: dict[str, Any]) -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=3, training__precision="float64", **settings)
    options: dict[str, Any] = {} if settings is POINT else {"draws": 1100}  # more than one block
    whole = scored(model, dataset.test, dataset.train, **options)
    order = np.random.default_rng(0).permutation(len(dataset.test))
    mixed = scored(model, dataset.test.take(order), dataset.train, **options)
    alone = scored(model, dataset.test.take(np.array([7])), dataset.train, **options)
    numbers = [name for name in (*NUMBERS, "log_px", "effective_sample_size") if name in whole]
    assert ("elbo" in whole) == (settings is not POINT)
    for name in (*numbers, *(f"{name}_rank" for name in ("squared_error", "code_distance"))):
        np.testing.assert_allclose(mixed[name], whole[name][order], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(alone[name][0], whole[name][7], rtol=1e-9, err_msg=name)
    assert sorted(whole["place"]) == list(range(1, 21))
    unusual = -whole["elbo"] if "elbo" in whole else whole["squared_error"]
    assert whole["place"][unusual.argmax()] == 1


def test_ranks_are_shares_of_training_items_that_are_less_unusual() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=3)
    train = scored(model, dataset.train, dataset.train)
    found = score(model, {"train": dataset.train}, dataset.train, Request())
    for name, sign in (("elbo", -1), ("squared_error", 1)):
        unusual = sign * train[name]
        np.testing.assert_array_equal(found[f"{name}_rank"], [(unusual < u).mean() for u in unusual])
    few = dataset.train.take(slice(0, 12))
    notes: list[str] = []

    class Told:
        def note(self, text: str) -> None:
            notes.append(text)

        def progress(self, *_: object) -> None: ...

    silent = score(model, {"test": dataset.test}, few, Request(), Told())  # type: ignore[arg-type]
    assert not [name for name in silent if name.endswith("_rank")]
    assert notes == ["no ranks: 12 training items are too few, 20 are needed"]


# Nearest items


def test_nearest_codes_are_those_of_brute_force_without_the_item_itself() -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(300, 4)) * [3, 1, 0.2, 0.001], np.array([0.1, 0.2, 0.5, 1.0])
    space = CodeSpace.of(mean, np.broadcast_to(std, mean.shape))
    np.testing.assert_allclose(space.scale, np.sqrt(mean.var(0) + std**2))
    away = np.sqrt((((mean[:, None] - mean) / space.scale) ** 2).sum(-1))
    np.fill_diagonal(away, np.inf)
    distances, rows = space.nearest(mean, 7, np.arange(300))
    np.testing.assert_array_equal(rows, np.argsort(away, 1)[:, :7])
    np.testing.assert_allclose(distances, np.sort(away, 1)[:, :7])
    np.testing.assert_allclose(space.distance(mean, np.arange(300)), np.sort(away, 1)[:, :10].mean(1))
    # Equal codes: the item itself is left out, whichever of them is found.
    same = CodeSpace.of(np.zeros((30, 2)), None)
    assert all(i not in row for i, row in enumerate(same.nearest(np.zeros((30, 2)), 29, np.arange(30))[1]))


def test_neighbours_by_values_are_those_of_brute_force() -> None:
    dataset = image_dataset()
    _, model = made(dataset)
    columns, rows = items.nearest_items(model, dataset.train.take(np.array([5])), dataset.train, 4, True, 5)
    x = dataset.train.x.reshape(len(dataset.train), -1) / 255
    away = np.sqrt(((x - x[5]) ** 2).mean(1))
    away[5] = np.inf
    np.testing.assert_array_equal(rows[4:], np.argsort(away, kind="stable")[:4])
    np.testing.assert_allclose(columns["distance"][4:], np.sort(away)[:4], rtol=1e-5)
    assert columns["space"].tolist() == ["codes"] * 4 + ["values"] * 4
    assert 5 not in rows


# Whole runs


SETTINGS = {"network.hidden": [16], "pictures.draw": False}
SMALL: dict[str, Any] = {"steps": 20, "latent": 2, "quiet": True, "threads": 1, "settings": SETTINGS}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs in two classes, one with a name that is hard to write; a table; a run of each."""
    folder = tmp_path_factory.mktemp("items")
    for i, image in enumerate(images(60, 12, 8, 3)):
        name = 'a, "b"\n\udce9' if i == 0 else f"photo {i}"
        path = folder / "photos" / ("dark" if i % 3 else "light")
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"{name}.png")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        rng.normal(size=(80, 2)) @ rng.normal(size=(2, 3)) * [1, 10, 100], columns=["a", "b", "c"]
    )
    table["kind"] = np.where(table["a"] > 0, "high, or so", "low")
    table.to_csv(folder / "table.csv", index=False)
    latlas.train(folder / "photos", out=folder / "run", **SMALL)
    latlas.train(folder / "photos", "ae", out=folder / "ae", **SMALL)
    latlas.train(folder / "table.csv", label="kind", out=folder / "tab", **SMALL)
    return folder


def command(*words: object) -> int:
    return cli.run([*map(str, words), "--quiet"])


def test_codes_of_every_split_come_as_a_table(work: Path, tmp_path: Path) -> None:
    for name in ("c.csv", "c.parquet", "c.npz"):
        assert command("encode", work / "run", "--split", "all", "--out", tmp_path / name) == 0
    read = pd.read_csv(tmp_path / "c.csv")
    parquet = pd.read_parquet(tmp_path / "c.parquet")
    pd.testing.assert_frame_equal(read, parquet, check_dtype=False, rtol=1e-6)
    assert list(read) == ["name", "row", "label", "split", "mean_0", "mean_1", "std_0", "std_1"]
    assert sorted(read["row"]) == list(range(60))
    assert read["split"].value_counts().to_dict() == {"train": 49, "valid": 5, "test": 6}
    assert (read["label"] == read["name"].str.partition("/")[0]).all()
    data = load(DataOptions(source=str(work / "photos")))
    for part in ("train", "test"):
        lines = read[read["split"] == part]
        assert lines["name"].tolist() == data.split(part).names.tolist()
        mean = latlas.load(work / "run").encode(np.asarray(data.split(part).x))
        np.testing.assert_allclose(lines[["mean_0", "mean_1"]], mean, rtol=1e-5, atol=1e-6)
    with np.load(tmp_path / "c.npz") as arrays:
        np.testing.assert_array_equal(arrays["names"], read["name"])
        np.testing.assert_array_equal(arrays["classes"][arrays["labels"]], read["label"])
        np.testing.assert_array_equal(arrays["split"], read["split"])


def test_a_hard_name_is_quoted_and_printable(work: Path, tmp_path: Path) -> None:
    assert command("encode", work / "run", work / "photos", "--out", tmp_path / "c.csv") == 0
    import csv

    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {7}
    assert [row[0] for row in rows if '"' in row[0]] == ['light/a, "b"\\n\\xe9.png']
    assert command("encode", work / "tab", "--split", "all", "--out", tmp_path / "t.csv") == 0
    table = pd.read_csv(tmp_path / "t.csv")
    source = pd.read_csv(work / "table.csv")
    assert list(table)[:3] == ["row", "label", "split"]
    assert (table["label"].to_numpy() == source["kind"].to_numpy()[table["row"]]).all()


def test_names_that_are_formulas_are_texts_in_every_table(tmp_path: Path) -> None:
    for i, image in enumerate(images(40, 12, 8, 3)):
        path = tmp_path / "photos" / ("=cmd|'calc'!A1" if i % 2 else "@b")
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"-{i}+1.png")
    run = latlas.train(tmp_path / "photos", out=tmp_path / "run", **SMALL).path
    for words in (["encode", "--split", "all"], ["score", "--split", "all"], ["neighbours", "1", "-n", "3"]):
        assert command(words[0], run, *words[1:], "--out", tmp_path / "t.csv") == 0
        read = pd.read_csv(tmp_path / "t.csv")
        assert set(read["label"]) <= {"'=cmd|'calc'!A1", "'@b"}
        assert read["name"].str.match("'[=@]").all()
    assert latlas.encode(run, quiet=True).frame["label"].str.match("[=@]").all()
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 2)), columns=["-400", "=a"])
    table.to_csv(tmp_path / "t.csv", index=False)
    run = latlas.train(tmp_path / "t.csv", header="yes", out=tmp_path / "tab", **SMALL).path
    assert command("sample", run, "--out", tmp_path / "s.csv") == 0
    assert pd.read_csv(tmp_path / "s.csv").columns.tolist() == ["-400", "'=a"]
    assert pd.read_csv(tmp_path / "s.csv").dtypes.eq(float).all()
    assert command("score", run, tmp_path / "s.csv", "--out", tmp_path / "u.csv") == 0, (
        "its own table is known"
    )


def test_frames_in_python_are_the_files_of_the_command(work: Path, tmp_path: Path) -> None:
    run = latlas.Run(work / "run")
    assert command("score", run.path, "--split", "all", "--importance", 30, "--out", tmp_path / "s.csv") == 0
    assert command("encode", run.path, "--out", tmp_path / "c.csv") == 0
    assert command("neighbours", run.path, 2, "-n", 3, "--values", "--out", tmp_path / "n.csv") == 0
    frames = {
        "s": run.score(split="all", draws=30, quiet=True),
        "c": run.encode(quiet=True),
        "n": run.neighbours(2, 3, values=True, quiet=True),
    }
    for name, frame in frames.items():
        read = pd.read_csv(tmp_path / f"{name}.csv")
        pd.testing.assert_frame_equal(read, frame, check_dtype=False, rtol=1e-6)
    assert isinstance(latlas.train(work / "photos", out=tmp_path / "more", **SMALL), latlas.Run)
    assert latlas.score(run, quiet=True).path is None
    assert run == latlas.runs.Run(run.path)


def test_the_most_unusual_come_first_on_the_terminal_and_on_the_page(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run, kind in (("run", "photo"), ("tab", "row")):
        arguments = ("score", work / run, "--split", "all", "--top", 4, "--page", tmp_path / "u.html")
        assert command(*arguments, "--out", tmp_path / "s.csv") == 0
        lines = capsys.readouterr().out.splitlines()
        scores = pd.read_csv(tmp_path / "s.csv").sort_values("elbo", ignore_index=True)
        assert scores["place"].tolist() == list(range(1, len(scores) + 1))
        names, rows = scores.get("name", scores["row"]), scores["row"]
        titles = [name if kind == "photo" else f"row {row}" for name, row in zip(names, rows, strict=True)]
        assert all(title in line for title, line in zip(titles[:4], lines[1:5], strict=True))
        page = (tmp_path / "u.html").read_text()
        at = [page.index(f". {title.replace(chr(34), '&#34;')}</h2>") for title in titles[:4]]
        assert at == sorted(at)
        assert page.count("<article") == 4
        assert page.count("data:image/png") == (8 if kind == "photo" else 0)
    assert "std. deviations" in page
    assert "are in nats" in page
    assert not re.search(r">-\d", page), "a minus sign, not a hyphen"
    assert latlas.score(work / "ae", quiet=True).about["by"] == "squared_error"
    assert "elbo" not in latlas.score(work / "ae", quiet=True).arrays


def test_an_item_is_found_by_row_by_name_and_by_file(work: Path, tmp_path: Path) -> None:
    run = latlas.Run(work / "run")
    codes = run.encode(split="train", quiet=True)
    name = codes["name"][3]
    by_row = run.neighbours(3, split="train", quiet=True)
    for item in (name, work / "photos" / name, str(work / "photos" / name)):
        pd.testing.assert_frame_equal(by_row, run.neighbours(item, quiet=True))
    assert name not in by_row["name"].tolist()
    # A copy elsewhere is other data: the item itself is the nearest.
    Image.open(work / "photos" / name).save(tmp_path / "copy.png")
    copied = run.neighbours(tmp_path / "copy.png", quiet=True)
    assert (copied["name"][0], copied["distance"][0]) == (name, pytest.approx(0, abs=1e-5))
    for out in ("n.png", "n.npz"):
        assert command("neighbours", run.path, name, "--values", "--out", tmp_path / out) == 0
    with np.load(tmp_path / "n.npz") as arrays:
        assert arrays["images"].shape == (20, 12, 8, 3)
    within = latlas.neighbours(work / "tab", 5, 4, source=work / "table.csv", quiet=True)
    assert (len(within.frame), list(within.frame)[:3]) == (4, ["space", "place", "distance"])


def test_rows_of_a_table_are_called_by_the_id_that_was_left_out(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(work / "table.csv")
    ids = [f"{i:03}" for i in np.random.default_rng(1).permutation(200)[:80]]
    table.assign(id=ids, note="seen").to_csv(tmp_path / "t.csv", index=False)
    options: dict[str, Any] = {"label": "kind", "drop": ["note", "id"], "out": tmp_path / "run"}
    run = latlas.train(tmp_path / "t.csv", **options, **SMALL)
    codes, scores = run.encode(split="all", quiet=True), run.score(split="all", quiet=True)
    for lines in (codes, scores, run.neighbours(0, 20, quiet=True)):
        assert lines["name"].tolist() == [ids[row] for row in lines["row"]]
    # By name: digits too, but for a row where a split is named, or where the number is one.
    train = codes[codes["split"] == "train"].reset_index()
    by_row = run.neighbours(4, split="train", quiet=True)
    capsys.readouterr()
    by_name = latlas.neighbours(run, train["name"][4])
    pd.testing.assert_frame_equal(by_row, by_name.frame)
    pd.testing.assert_frame_equal(by_row, run.neighbours("4", split="train", quiet=True))
    assert ("is taken for the item of that name" in capsys.readouterr().err) == (int(train["name"][4]) < 8)
    with pytest.raises(InputError, match=r"neither a row, a file, nor the name .*near it: 0"):
        run.neighbours(f"{ids[0]}x", quiet=True)
    for wrong in (table, 2.5, True):
        with pytest.raises(InputError, match="item: expected a row, a name or an image file, got"):
            run.neighbours(wrong, quiet=True)  # type: ignore[arg-type]
    # The same of other tables and frames, and of one row.
    other = table.assign(id=[f"new {i}" for i in range(80)])[["id", "c", "b", "a"]]
    other.to_csv(tmp_path / "other.csv", index=False)
    for source in (tmp_path / "other.csv", other, other.set_index("id")):
        assert run.encode(source, quiet=True)["name"].tolist() == other["id"].tolist()
        assert latlas.neighbours(run, "new 7", source=source, quiet=True).title.endswith("nearest to new 7")
    assert run.score(other.iloc[[5]], quiet=True)["name"].tolist() == ["new 5"]
    assert "name" not in run.encode(other.drop(columns="id"), quiet=True)


def test_names_as_near_in_every_folder_are_suggested() -> None:
    known = [f"{folder}/photo {i}.png" for folder in ("a", "b", "c") for i in range(30)]
    assert nearest_names("photo 7.png", known) == [f"{folder}/photo 7.png" for folder in "abc"]
    assert nearest_names("d/photo 7.png", known) == [f"{folder}/photo 7.png" for folder in "abc"]
    assert nearest_names("a/photo 7", known)[0] == "a/photo 7.png"
    near = nearest_names("photo 7.jpg", known)
    assert {f"{folder}/photo 7.png" for folder in "abc"} <= set(near[:3])
    assert nearest_names("something else", known) == []
    assert nearest_names("x", []) == []


def test_new_items_of_one_class(work: Path, tmp_path: Path) -> None:
    output = latlas.sample(work / "run", 500, class_name="light", quiet=True)
    data = load(DataOptions(source=str(work / "photos")))
    model = latlas.load(work / "run")
    chosen = data.train.take(np.flatnonzero(data.train.labels == data.classes.index("light")))
    assert output.about["codes"] == len(chosen) < len(data.train)
    codes = latlas.densities.draws(model, chosen.x)
    error = codes.std(0) * (1 / len(codes) + 1 / 500) ** 0.5
    assert (np.abs(output.arrays["z"].mean(0) - codes.mean(0)) < 4 * error).all()
    folder = tmp_path / "new"
    assert command("sample", work / "run", "--class", "dark", "-n", 12, "--out", folder) == 0
    assert sorted(path.name for path in folder.iterdir()) == [f"{i:02}.png" for i in range(1, 13)]
    assert command("sample", work / "tab", "--class", "low", "-n", 30, "--out", tmp_path / "new.csv") == 0
    assert list(pd.read_csv(tmp_path / "new.csv")) == ["a", "b", "c"]


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_a_film_of_a_morph_runs_there_and_back(work: Path, tmp_path: Path, ending: str) -> None:
    names = latlas.Run(work / "run").encode(quiet=True)["name"]
    ends = (work / "photos" / names[0], names[1])
    out = tmp_path / f"m.{ending}"
    assert command("morph", work / "run", *ends, "--steps", 6, "--seconds", 2, "--out", out) == 0
    with Image.open(out) as film:
        assert (film.n_frames, film.info["loop"]) == (10, 0)
        frames = []
        for at in range(10):
            film.seek(at)
            frames.append(np.asarray(film.convert("RGB"), float)[100:])
    assert np.abs(frames[1] - frames[9]).mean() < np.abs(frames[1] - frames[5]).mean()
    assert command("morph", work / "run", *ends, "--out", tmp_path / "m.npz") == 0
    by_row = latlas.morph(work / "run", 0, 1, quiet=True).arrays["images"]
    np.testing.assert_allclose(np.load(tmp_path / "m.npz")["images"], by_row, atol=1e-6)


BAD = [
    ("score W/run --by log_px", "--by log_px: expected one of elbo, distortion"),
    ("score W/ae --by elbo", "--by elbo: expected one of distortion"),
    ("score W/ae --importance 5", "--importance: posterior.name = point"),
    ("score W/run --samples 0", "--samples 0: expected a whole number from 1"),
    ("score W/run --page T/x.png", "--page T/x.png: expected a name ending in .html"),
    ("score W/run --out T/x.png", "--out T/x.png: expected a name ending in .npz, .csv or .parquet"),
    ("score W/tab W/table.csv --out W/table.csv", "--out W/table.csv: holds the data that this call reads"),
    ("encode W/tab --out W/table.csv", "--out W/table.csv: holds the data that this call reads"),
    ("encode W/run --split everything", "expected train, valid or test"),
    ("neighbours W/run 99", "rows of this split are 0 to 5"),
    ("neighbours W/run light/photo", "near it: light/photo"),
    ("neighbours W/run W/photos", "holds 60 items; give a row as the item, and this as the source"),
    (
        "neighbours W/tab nobody",
        "neither a row, a file, nor the name of an item of these data (they have no names)",
    ),
    ("neighbours W/run 1 -n 0", "-n 0: at least 1 is needed"),
    ("neighbours W/tab 1 --out T/n.png", "these items are not images; use .npz, .csv or .parquet"),
    ("sample W/run --class lihgt", "did you mean 'light'?"),
    ("sample W/ae --class dark --density flow -n 3 --out T/none/x.npz", "does not exist"),
    ("sample W/run --out W/photos", "--out W/photos: exists already; choose a new or an empty folder"),
    ("morph W/run light", "expected two items"),
    ("morph W/run 0 1 --out T/m.gif --steps 400", "--steps 400: a film of 4 seconds shows 51 at most"),
    ("morph W/run 0 1 --out T/m.gif --seconds 0", "--seconds 0: expected 0.5 to 120"),
    ("morph W/tab 0 1 --out T/m.gif", "these items are not images; use .npz"),
    ("morph W/run 0 W/nobody.png", "neither a row, a file, nor the name of an item"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_what_is_wrong_is_said_in_one_line(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    words = [word.replace("W/", f"{work}/").replace("T/", f"{tmp_path}/") for word in line.split()]
    message = message.replace("W/", f"{work}/").replace("T/", f"{tmp_path}/")
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert message in error.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_class_with_too_few_items_is_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5))
    np.savez(tmp_path / "rows.npz", x=x, y=np.array(["rare", *["usual"] * 59]))
    run = latlas.train(tmp_path / "rows.npz", out=tmp_path / "run", **SMALL | {"latent": 4})
    label = "rare" if "rare" in run.encode(split="train", quiet=True)["label"].tolist() else ""
    with pytest.raises(InputError, match=r"class_name = rare: (density full: 1 code|no training item)"):
        latlas.sample(run, class_name=label or "rare", quiet=True)
    alone = latlas.train(tmp_path / "rows.npz", out=tmp_path / "ok", **SMALL)
    assert inference.fit_density(alone, alone.model(), "factored", class_name="usual").codes > 40
