"""The command line: what each command prints and leaves behind, and one clear line for whatever is wrong."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import images
from PIL import Image
from test_docs import parsed

from latlas import cli

QUICK = ["--quiet", "--set", "network.hidden=[16]", "--set", "pictures.draw=false"]
Latlas = Callable[..., tuple[int, str, str]]


@pytest.fixture
def latlas(capsys: pytest.CaptureFixture[str]) -> Latlas:
    """Runs a command line in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = cli.run([str(a) for a in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an array, a table, a folder of images, and one trained run of each."""
    folder = tmp_path_factory.mktemp("work")
    np.savez(folder / "ramps.npz", x=images(120), y=np.arange(120) % 3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 4)) * [1, 10, 100, 1000] + 7
    lines = ["a,b,c,d,kind", *(",".join([*map(str, row), "xy"[i % 2]]) for i, row in enumerate(x))]
    (folder / "table.csv").write_text("\n".join(lines))
    (folder / "photos").mkdir()
    for i, image in enumerate(images(24, 20, 16, 3)):
        Image.fromarray(image).save(folder / "photos" / f"{i}.png")
    for name, source, extra in (
        ("images", "ramps.npz", []),
        ("table", "table.csv", ["--label", "kind"]),
        ("photos", "photos", ["--image-size", "16x16", "--set", "network.channels=[4, 4]"]),
    ):
        arguments = ["train", folder / source, "--out", folder / f"run-{name}", "--latent", 2, "--steps", 20]
        assert cli.run([str(a) for a in [*arguments, *QUICK, *extra]]) == 0
    return folder


def test_train_prints_one_object_and_nothing_else(latlas: Latlas, work: Path, tmp_path: Path) -> None:
    code, out, err = latlas(
        "train", work / "ramps.npz", "--out", tmp_path / "run", "--epochs", 2, "--batch-size", 25, "--lr", 0.001,
        "--beta", 2, "--seed", 5, "--limit", 60, "--latent", 3, "--threads", 1, "--json", *QUICK,
    )  # fmt: skip
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["run"] == str(tmp_path / "run")
    assert (result["data"], result["recipe"], result["network"], result["likelihood"]) == (
        "ramps", "vae", "mlp", "bernoulli",
    )  # fmt: skip
    assert (result["latent"], result["epochs"], result["steps"]) == (3, 2, 6)
    assert result["parameters"] == 48 * 16 + 16 + 16 * 6 + 6 + 3 * 16 + 16 + 16 * 48 + 48
    assert result["seconds"] > 0
    assert result["images_per_second"] > 0
    test = result["test"]
    assert set(test) >= {"elbo", "distortion", "rate", "mse"}
    assert test["elbo"] == pytest.approx(-(test["distortion"] + test["rate"]))
    config = (tmp_path / "run" / "config.toml").read_text()
    for line in ("beta = 2.0", "seed = 5", "limit = 60", "lr = 0.001", "threads = 1"):
        assert line in config


def test_training_speaks_on_standard_error_only(latlas: Latlas, work: Path, tmp_path: Path) -> None:
    code, out, err = latlas(
        "train", work / "ramps.npz", "--out", tmp_path / "run", "--steps", 5, "--json", *QUICK[1:]
    )
    assert code == 0
    json.loads(out)
    assert "likelihood.name = bernoulli (grey images)" in err
    assert "epoch 1/" in err
    assert "report.html" in err


def test_a_finished_run_is_not_trained_again(latlas: Latlas, work: Path) -> None:
    before = (work / "run-images" / "log.jsonl").read_bytes()
    code, _, err = latlas("train", "--resume", work / "run-images")
    assert code == 0
    assert "finished already" in err
    assert (work / "run-images" / "log.jsonl").read_bytes() == before


def test_notes_name_options_where_a_command_has_them(
    latlas: Latlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [[i, *row] for i, row in enumerate(rng.normal(size=(60, 3)))]
    (tmp_path / "t.csv").write_text("id,a,b,c\n" + "\n".join(",".join(map(str, row)) for row in rows))
    np.save(tmp_path / "x.npy", rng.normal(size=(60, 3)))
    np.savez(tmp_path / "s.npz", x_train=rng.normal(size=(60, 3)), x_test=rng.normal(size=(20, 3)))
    small = ["--steps", 3, "--quick", "--set", "pictures.draw=false", "--set", "network.hidden=[8]"]
    _, _, table = latlas("train", "t.csv", "--out", "t", *small)
    assert "leave out with --drop what is no" in table
    assert "data.drop" in json.loads((tmp_path / "t" / "run.json").read_text())["notes"][1]
    _, _, array = latlas("train", "x.npy", "--out", "x", *small)
    assert "--kind vector keeps them on one scale, and --image-size HxW makes images" in array
    _, out, use = latlas("encode", "x", "s.npz", "--out", "c.csv", "--json")
    assert "; --split train or all takes others" in use
    assert "split = train or all" in out
    assert " data." not in table + array


def test_one_thing_is_called_one(latlas: Latlas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table with one column, one item held out, one latent dimension and one step."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "t.csv").write_text(
        "id;a\n\n;\n" + "\n".join(f"r{i};{x}" for i, x in enumerate(rng.normal(size=10)))
    )
    _, out, err = latlas("train", "t.csv", "--drop", "id", "--out", "t", "--latent", 1, "--steps", 1)
    said = [out, err, (tmp_path / "t" / "report.html").read_text()]
    for words in (
        ["evaluate", "t", "--measure", "mse"], ["diagnose", "t"], ["encode", "t"], ["score", "t"],
        ["neighbours", "t", "0", "-n", 1],
        ["sample", "t", "-n", 1], ["reconstruct", "t"], ["compare", "t"], ["train", "--resume", "t", "--lr", 1],
        ["vary", "t", "--row", 0, "-n", 1], ["train", "t.csv", "--columns", "a", "--limit", 1],
    ):  # fmt: skip
        said += latlas(*words)[1:]
    text = re.sub(r"<[^>]*>", " ", "\n".join(said))
    noun = "columns|items|rows|steps|epochs|codes|dimensions|samples|variations|reconstructions|draws|images|values"
    assert re.findall(rf"(?<![\d.,-])1 (?:\w+ )?(?:{noun})\b", text) == []
    assert "1 training item;" in text
    assert "1 variation:" in text
    assert "1 empty row left out" in text


def test_evaluate_agrees_with_training_and_repeats(latlas: Latlas, work: Path) -> None:
    run = work / "run-images"
    first, second = (json.loads(latlas("evaluate", run, "--json", "--quiet")[1]) for _ in range(2))
    assert first == second
    assert (first["run"], first["split"], first["images"]) == (str(run), "test", 12)
    trained = json.loads((run / "metrics.json").read_text())["splits"]
    for key in ("elbo", "distortion", "rate", "mse"):
        assert first[key] == trained["test"][key]
    valid = json.loads(latlas("evaluate", run, "--split", "valid", "--json", "-q")[1])
    assert valid["elbo"] == pytest.approx(trained["valid"]["elbo"], rel=1e-6)
    other = json.loads(latlas("evaluate", run, "--seed", 1, "--samples", 50, "--json", "-q")[1])
    assert other["elbo"] != first["elbo"]
    assert other["mse"] == first["mse"]
    code, out, _ = latlas("evaluate", run, "-q")
    assert code == 0
    assert out.startswith("test, 12 items: distortion ")


def test_evaluate_weighs_draws_where_asked(latlas: Latlas, work: Path) -> None:
    arguments = ["evaluate", work / "run-images", "--importance", 20, "--limit", 7, "-q"]
    told = json.loads(latlas(*arguments, "--json")[1])
    assert told["images"] == told["importance"]["images"] == 7
    assert told["importance"]["samples"] == 20
    assert told["importance"]["gap"] >= 0
    assert told["importance"]["log_px"] == told["numbers"]["log_px"]["value"]
    assert "  log p(x) " in latlas(*arguments)[1]
    assert "importance" not in json.loads(latlas("evaluate", work / "run-images", "--json", "-q")[1])


def test_encode_decode_and_reconstruct_fit_together(latlas: Latlas, work: Path, tmp_path: Path) -> None:
    run = work / "run-images"
    source = np.load(work / "ramps.npz")
    assert latlas("encode", run, "--out", tmp_path / "codes.npz", "-q")[0] == 0
    codes = np.load(tmp_path / "codes.npz")
    assert codes["mean"].shape == codes["std"].shape == (12, 2)
    assert (codes["std"] > 0).all()
    np.testing.assert_array_equal(codes["labels"], source["y"][codes["index"]])
    assert latlas("decode", run, tmp_path / "codes.npz", "--out", tmp_path / "decoded.npz")[0] == 0
    assert latlas("reconstruct", run, "--out", tmp_path / "rec.npz", "-q")[0] == 0
    rec, decoded = np.load(tmp_path / "rec.npz"), np.load(tmp_path / "decoded.npz")["decoded"]
    np.testing.assert_array_equal(rec["index"], codes["index"])
    np.testing.assert_array_equal(rec["original"], source["x"][rec["index"]])
    np.testing.assert_allclose(rec["reconstruction"], decoded, atol=1e-3)
    assert rec["units"] == "data"
    assert rec["reconstruction"].dtype == np.float32
    metrics = json.loads(latlas("evaluate", run, "--json", "-q")[1])
    mse = np.square((rec["original"] - rec["reconstruction"]) / 255).mean()
    assert metrics["mse"] == pytest.approx(mse, rel=1e-5)
    np.save(tmp_path / "z.npy", codes["mean"])
    assert latlas("decode", run, tmp_path / "z.npy", "--out", tmp_path / "again.npz")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "again.npz")["decoded"], decoded)


def test_every_split_and_other_sources_can_be_encoded(latlas: Latlas, work: Path, tmp_path: Path) -> None:
    sizes = {}
    for split in ("train", "valid", "test"):
        latlas("encode", work / "run-images", "--split", split, "--out", tmp_path / "c.npz", "-q")
        sizes[split] = set(np.load(tmp_path / "c.npz")["index"].tolist())
    assert {k: len(v) for k, v in sizes.items()} == {"train": 97, "valid": 11, "test": 12}
    assert set.union(*sizes.values()) == set(range(120))
    code, out, _ = latlas(
        "encode", work / "run-photos", work / "photos", "--out", tmp_path / "p.npz", "--json", "-q"
    )
    assert code == 0
    assert json.loads(out)["items"] == 24
    one = work / "photos" / "3.png"
    assert latlas("encode", work / "run-photos", one, "--out", tmp_path / "one.npz", "-q")[0] == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "one.npz")["mean"][0], np.load(tmp_path / "p.npz")["mean"][3], rtol=1e-4, atol=1e-5
    )


def test_tables_are_reconstructed_in_data_units(latlas: Latlas, work: Path, tmp_path: Path) -> None:
    import pandas as pd

    run = work / "run-table"
    assert latlas("reconstruct", run, work / "table.csv", "--out", tmp_path / "rec.npz", "-q")[0] == 0
    rec = np.load(tmp_path / "rec.npz")
    table = pd.read_csv(work / "table.csv").drop(columns="kind").to_numpy()
    np.testing.assert_allclose(rec["original"], table, rtol=1e-4, atol=1e-5)
    spread = table.std(0)
    assert (np.abs(rec["reconstruction"].mean(0) - table.mean(0)) < spread).all()
    assert latlas("sample", run, "-n", 9, "--out", tmp_path / "s.npz")[0] == 0
    samples = np.load(tmp_path / "s.npz")["samples"]
    assert samples.shape == (9, 4)
    assert (np.abs(samples.mean(0) - table.mean(0)) < 3 * spread).all()


def test_samples_are_pictures_or_arrays(latlas: Latlas, work: Path, tmp_path: Path) -> None:
    run = work / "run-photos"
    for name in ("a.npz", "b.npz"):
        assert latlas("sample", run, "-n", 10, "--seed", 4, "--out", tmp_path / name)[0] == 0
    a, b = (np.load(tmp_path / n)["samples"] for n in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(a, b)
    assert a.shape == (10, 16, 16, 3)
    assert latlas("sample", run, "-n", 10, "--out", tmp_path / "s.png")[0] == 0
    with Image.open(tmp_path / "s.png") as picture:
        assert min(picture.size) > 100
    assert latlas("sample", run)[0] == 0
    assert (run / "samples.png").exists()


def test_morphs_begin_and_end_at_the_two_rows(latlas: Latlas, work: Path, tmp_path: Path) -> None:
    run = work / "run-images"
    arguments = ("morph", run, "--from", 1, "--to", 7, "--steps", 5, "-q")
    assert latlas(*arguments, "--out", tmp_path / "m.npz")[0] == 0
    latlas("reconstruct", run, "--out", tmp_path / "rec.npz", "-q")
    morph, rec = np.load(tmp_path / "m.npz"), np.load(tmp_path / "rec.npz")
    np.testing.assert_allclose(morph["images"][[0, -1]], rec["reconstruction"][[1, 7]], atol=1e-3)
    np.testing.assert_allclose(morph["z"][2], morph["z"][[0, -1]].mean(0), rtol=1e-5)
    assert latlas(*arguments)[0] == 0
    assert (run / "morph-1-7.png").exists()


def test_the_report_is_written_again_with_other_pictures(latlas: Latlas, work: Path) -> None:
    run = work / "run-images"
    assert not (run / "figures").exists()
    assert latlas("report", run, "--grid", "3x4", "--span", -2, 2, "-q")[0] == 0
    assert (run / "figures" / "manifold.png").exists()
    assert "data:image/png" in (run / "report.html").read_text()


def test_lists_are_tables_and_json(
    latlas: Latlas, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no runs under runs/" in latlas("runs")[1]
    found = json.loads(latlas("runs", "--root", work, "--json")[1])
    assert [r["name"] for r in found] == ["run-images", "run-table", "run-photos"]
    assert all(r["finished"] and r["elbo"] is not None for r in found)
    recipes = json.loads(latlas("recipes", "list", "--json")[1])
    assert all(set(r) >= {"name", "ids", "data", "summary"} for r in recipes)
    assert latlas("recipes")[1] == latlas("recipes", "list")[1]
    assert "[likelihood]" in latlas("recipes", "show", "vae")[1]
    sets = json.loads(latlas("data", "list", "--json")[1])
    names = {s["name"] for s in sets}
    assert names >= {"mnist", "fashion-mnist", "kmnist", "flowers102", "digits", "fashion-mini"}
    assert {s["name"] for s in sets if s["present"]} == {"digits", "fashion-mini", "shapes"}
    assert json.loads(latlas("data", "info", "mnist", "--json")[1])["train"] == 60000


COMMANDS = (
    "train", "evaluate", "sample", "reconstruct", "encode", "score", "neighbours", "decode", "morph", "vary", "report",
    "animate", "export", "compare", "diagnose", "study", "log",
    "runs", "prune", "data", "data list", "data info", "data fetch", "recipes", "recipes list", "recipes show",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(latlas: Latlas, command: str) -> None:
    code, out, _ = latlas(*command.split(), "--help")
    assert code == 0
    assert "Example" in out
    assert "latlas" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_example_stands_on_its_own_line_and_can_be_copied(
    latlas: Latlas, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    lines = latlas(*command.split(), "--help")[1].partition("Example")[2].splitlines()[1:]
    assert lines
    for line in lines:
        called = parsed(shlex.split(line.partition(">")[0]))
        assert called.command.startswith(command) or command.endswith(("data", "recipes")), line


# What is wrong, the command, and a part of the line that says so. W is the folder of `work`, T an empty one.
BAD: list[tuple[str, str]] = [
    ("frobnicate", "No such command"),
    ("train --frobnicate", "No such option: --frobnicate"),
    ("train nonsense", "'nonsense' is neither a named set"),
    ("train fashon-mnist", "did you mean 'fashion-mnist'?"),
    ("train mnist", "latlas data fetch mnist"),
    ("train mnist --data-dir T/none", "latlas data fetch mnist"),
    ("train W/none.npy", "neither a named set"),
    ("train T", "no image files in this folder"),
    ("train W/photos/3.png", "a single image; give the folder"),
    ("train W/ramps.npz --recipe vea", "unknown recipe 'vea'; did you mean 'vae'?"),
    ("train W/ramps.npz --config T/none.toml", "no such configuration file"),
    ("train W/ramps.npz --latent 0", "--latent: model.latent = 0"),
    ("train W/ramps.npz --latent two", "'--latent'"),
    ("train W/ramps.npz --epochs 0", "training.epochs = 0"),
    ("train W/ramps.npz --lr -1", "optimizer.lr = -1"),
    ("train W/ramps.npz --lr nan", "optimizer.lr = nan"),
    ("train W/ramps.npz --image-size 9by9", "--image-size 9by9: expected two whole numbers"),
    ("train W/ramps.npz --image-size 9x9", "arrays are not resized"),
    ("train W/ramps.npz --layout XYZ", "data.layout = 'XYZ'"),
    ("train W/ramps.npz --layout ND", "layout ND needs 2 axes"),
    ("train W/ramps.npz --label kind", "--label kind: has no meaning for an array"),
    ("train W/table.csv", "not numbers in column 'kind'"),
    ("train W/table.csv --label knd", "did you mean 'kind'?"),
    ("train W/table.csv --label kind --set likelihood.name=bernoulli", "bernoulli takes values inside [0, 1]"),
    ("train W/table.csv --label kind --set network.name=conv", "network.name = conv takes images"),
    ("train W/ramps.npz --recipe kmnist-vae", "makes 28x28 images, and these are 8x6"),
    ("train W/ramps.npz --device tpu", "training.device = 'tpu'"),
    ("train W/ramps.npz --device cuda:99", "not on this machine"),
    ("train W/ramps.npz --threads 0", "--threads"),
    ("train W/ramps.npz --set network.hiden=3", "did you mean network.hidden?"),
    ("train W/ramps.npz --set network.hidden", "expected KEY=VALUE"),
    ("train W/ramps.npz --set posterior.name=point", "objective.name = elbo needs a posterior with a density"),
    ("train W/ramps.npz --set training.batch_size=many", "training.batch_size = 'many'"),
    ("train W/ramps.npz --out W/photos", "exists already"),
    ("train W/ramps.npz --limit 1", "at least 2 are needed"),
    ("train W/ramps.npz --batch-size 1 --set network.name=conv --set network.batch_norm=true",
     "--batch-size 1: batch normalisation needs the variance of a batch"),
    ("train W/ramps.npz --batch-size 0", "training.batch_size = 0"),
    ("train --from W/run-images", "name the data to train on"),
    ("train W/ramps.npz --from T/none", "--from: run"),
    ("train W/ramps.npz --from W/run-table", "do not fit: encoder.1.weight is"),
    ("train W/ramps.npz --from W/run-images --recipe ae", "--recipe ae: the model is that of the run"),
    ("train --resume W/run-images --from W/run-images", "leave out --from"),
    ("train --resume W/run-images --epochs 1", "--epochs 1: the run has trained"),
    ("train --resume W/run-images --latent 7", "--latent 7: cannot change while a run is trained further"),
    ("train --resume W/run-images --set network.hidden=[3]", "network.hidden = 3: cannot change"),
    ("prune", "Missing argument"),
    ("prune T/none", "neither a folder nor a name under runs/"),
    ("train W/ramps.npz --resume W/run-images", "leave out DATA"),
    ("train --resume T/none", "neither a folder nor a name under runs/"),
    ("train --resume W/photos", "not a run folder"),
    ("evaluate", "Missing argument"),
    ("evaluate W/run-images --split holdout", "expected train, valid or test"),
    ("evaluate W/run-images --samples 0", "at least 1 is needed"),
    ("evaluate W/run-images --importance 2000000", "at most 1,000,000"),
    ("evaluate W/run-images W/table.csv", "W/table.csv"),
    ("evaluate W/run-table W/ramps.npz", "W/ramps.npz"),
    ("sample W/run-images -n 0", "at least 1 is needed"),
    ("sample W/run-images --out T/x.gif", "expected a name ending in .npz or .png"),
    ("sample W/run-images --out T/none/x.npz", "does not exist"),
    ("sample W/run-table --out T/x.png", "these items are not images"),
    ("decode W/run-images T/none.npz", "no such file"),
    ("decode W/run-images W/ramps.npz", "expected codes named mean or z"),
    ("decode W/run-images W/table.csv", "holds Python objects or is no NumPy file"),
    ("encode W/run-images --out T/x.png", "expected a name ending in .npz"),
    ("morph W/run-images --from 0 --to 99", "--to 99: rows of this split are 0 to 11"),
    ("morph W/run-images --from 0 --to 1 --steps 1", "at least 2 are needed"),
    ("morph W/run-images 0 W/none.png", "W/none.png: neither a row, a file, nor the name of an item"),
    ("report T", "not a run folder"),
    ("encode W/run-images --out W", ": expected a name ending in .npz, .csv or .parquet"),
    ("compare W/run-images --measure log_px,purity", "unknown measure 'purity'"),
    ("evaluate W/run-images --measure log_px,purity", "unknown measure 'purity'"),
    ("animate T", "not a run folder"),
    ("animate W/run-images --out T/x.mp4", "expected a name ending in .webp or .gif"),
    ("report W/run-images --grid 0x3", "--grid 0x3: expected two whole numbers"),
    ("report W/run-images --span 2 -2", "expected the lower end first"),
    ("data info minst", "did you mean 'mnist'?"),
    ("data fetch digits", "nothing to fetch"),
    ("recipes show kmnist", "did you mean 'kmnist-vae'?"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "message"), BAD, ids=[c for c, _ in BAD])
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left(
    latlas: Latlas, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"W": str(work), "T": str(tmp_path)}
    words = [
        places.get(word.split("/")[0], word.split("/")[0]) + word[len(word.split("/")[0]) :]
        for word in command.split()
    ]
    code, out, err = latlas(*words)
    assert code == 2, err
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for mark, place in places.items():
        message = message.replace(f"{mark}/", f"{place}/")
    assert message in last
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def latlas_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "latlas", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_debug_shows_where_an_error_came_from() -> None:
    # Of a command that fails before it imports torch, which takes longer than all else here.
    plain, debug = (latlas_process("recipes", "show", "nonsense", *more) for more in ((), ("--debug",)))
    assert (plain.returncode, plain.stderr.count("\n")) == (2, 1)
    assert debug.returncode != 0
    assert "Traceback" in debug.stderr
    assert "InputError" in debug.stderr


def test_the_version_is_the_packages() -> None:
    from latlas import __version__

    assert latlas_process("--version").stdout.strip() == f"latlas {__version__}"
