"""Python's calls: one for every command, with the same results, and errors that speak of the call's own arguments."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from helpers import images

import latlas
from latlas import api, cli, inference
from latlas.api import learning
from latlas.api.studying import ExecutedOptions
from latlas.brought import OF_TRAINING
from latlas.config import known_keys
from latlas.errors import InputError
from latlas.runs import Run
from latlas.sklearn import VAE, Autoencoder, VAEOutlierDetector
from latlas.studies import execute

PACKAGE = Path(latlas.__file__).parent
SMALL: dict[str, Any] = {"steps": 15, "latent": 2, "quiet": True, "threads": 1}
SETTINGS = {"network.hidden": [16], "pictures.draw": False}

# What each command does, as a call.
CALLS = {
    "train": "train resume", "evaluate": "evaluate evaluation_of", "diagnose": "diagnose", "sample": "sample",
    "reconstruct": "reconstruct", "encode": "encode", "score": "score", "neighbours": "neighbours", "decode": "decode",
    "morph": "morph", "vary": "vary",
    "report": "write_report", "animate": "animate", "export": "export", "compare": "compare_runs",
    "explore": "explore",
    "study": "study plan_study", "log": "log",
    "runs": "list_runs", "prune": "prune", "data list": "list_data", "data info": "data_info",
    "data fetch": "fetch_data", "recipes list": "list_recipes", "recipes show": "show_recipe",
}  # fmt: skip


IN_PYTHON = {"load", "open_run", "item_of", "fit"}  # what no command line can give or take


def commands() -> dict[str, Any]:
    """Every command of the command line by name, those of a group as `data list`."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        group = getattr(command, "commands", None)
        found |= {name: command} if group is None else {f"{name} {sub}": c for sub, c in group.items()}
    return found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an array, and a run of a VAE and of an autoencoder."""
    folder = tmp_path_factory.mktemp("work")
    np.savez(folder / "ramps.npz", x=images(120), y=np.arange(120) % 3)
    for name, recipe in (("vae", "vae"), ("ae", "ae")):
        latlas.train(folder / "ramps.npz", recipe, out=folder / name, settings=SETTINGS, **SMALL)
    return folder


Printed = Callable[..., Any]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    """What a command prints with --json."""

    def run(*words: object) -> Any:
        assert cli.run([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_every_command_has_its_call() -> None:
    assert set(CALLS) == set(commands())
    named = {name for names in CALLS.values() for name in names.split()}
    assert named | IN_PYTHON == {name for name in latlas.__all__ if name[0].islower()}
    assert all(callable(getattr(latlas, name)) and getattr(latlas, name).__doc__ for name in named)
    assert set(api.__all__) == named | IN_PYTHON


def test_shared_options_are_the_same_everywhere() -> None:
    helps: dict[str, set[str]] = {}
    for command in commands().values():
        for option in command.params:
            helps.setdefault(option.opts[0], set()).add(str(option.help))
    shared = ("--data-dir", "--device", "--threads", "--json", "--quiet", "-n")
    assert {name: len(helps[name]) for name in shared} == dict.fromkeys(shared, 1)


def test_what_runs_a_model_takes_threads_and_measures_are_named_one_way() -> None:
    named = {name: {word for p in command.params for word in p.opts} for name, command in commands().items()}
    assert {name for name in CALLS if "--threads" not in named[name]} == {
        "runs", "prune", "data list", "data info", "data fetch", "recipes list", "recipes show", "log",
    }  # fmt: skip
    spelt = {word for words in named.values() for word in words if word.startswith("--measure")}
    assert spelt == {"--measure"}


def test_measures_are_repeated_or_have_commas_between(work: Path, printed: Printed) -> None:
    for words in (
        ("--measure", "elbo,mse"),
        ("--measure", "elbo", "--measure", "mse"),
        ("--measure", "mse, elbo"),
    ):
        assert set(printed("evaluate", work / "vae", "--limit", 7, *words)["numbers"]) == {"elbo", "mse"}
        entry = printed("compare", work / "vae", "--out", work / "page.html", "--no-pca", *words)["entries"][
            0
        ]
        assert {"elbo", "mse"} <= set(entry["values"])


def test_a_file_is_written_over_and_a_folder_is_not(work: Path, tmp_path: Path) -> None:
    run = work / "vae"
    calls: dict[str, Callable[[Path], object]] = {
        "a.npz": lambda out: latlas.encode(run, out=out, quiet=True),
        "b.csv": lambda out: latlas.score(run, out=out, quiet=True),
        "c.html": lambda out: latlas.compare_runs([run], out, pca=False, quiet=True),
        "d.webp": lambda out: latlas.animate(run, out, seconds=1, size=240, quiet=True),
        "e.gif": lambda out: latlas.morph(run, 0, 1, steps=4, out=out, quiet=True),
        "f.png": lambda out: latlas.vary(run, row=0, out=out, quiet=True),
    }
    for name, call in calls.items():
        path = tmp_path / name
        path.write_text("something else")
        call(path)
        assert path.stat().st_size > 100, name
        path.unlink()
        path.mkdir()
        with pytest.raises(InputError, match=f"out = {path}: is a folder"):
            call(path)
    folder = tmp_path / "new"
    for _ in range(2):
        folder.mkdir(exist_ok=True)
        latlas.sample(run, 3, out=folder, quiet=True)
        assert len(list(folder.iterdir())) == 3
        with pytest.raises(InputError, match="exists already"):
            latlas.sample(run, 3, out=folder, quiet=True)
        for path in folder.iterdir():
            path.unlink()


def test_fields_of_errors_are_arguments_or_settings() -> None:
    parameters = {option.name for command in commands().values() for option in command.params}
    # A model's methods alone have units.
    parameters |= set(inspect.signature(latlas.Model.encode).parameters)
    # Modules and functions of one's own come from Python alone.
    parameters |= {
        *OF_TRAINING,
        *ExecutedOptions.__annotations__,
        *inspect.signature(latlas.Model).parameters,
        *inspect.signature(latlas.fit).parameters,
    }
    for estimator in (VAE, Autoencoder, VAEOutlierDetector):
        parameters |= set(inspect.signature(estimator).parameters)
    fields = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError":
                values = [k.value for k in node.keywords if k.arg == "field"]
                fields |= {str(v.value): path.name for v in values if isinstance(v, ast.Constant)}
    assert len(fields) > 15
    parameters |= {"RANK"}  # of the environment, as launchers of several processes set it
    assert {f: where for f, where in fields.items() if f not in parameters | set(known_keys())} == {}
    assert set(learning.SHORT) - {"layer"} <= parameters  # of an AnnData, which no file holds
    assert set(learning.SHORT.values()) <= set(known_keys())


# The call and how its error begins, the command and how its line begins; no command where typer refuses the value.
WRONG: list[tuple[Callable[[Path], object], str, str, str]] = [
    (lambda w: latlas.evaluate(w / "vae", draws=0), "draws = 0: at least 1",
     "evaluate W/vae --importance 2000000", "--importance 2000000: at least 1"),
    (lambda w: latlas.evaluate(w / "vae", samples=0), "samples = 0: at",
     "evaluate W/vae --samples 0", "--samples 0: at"),
    (lambda w: latlas.evaluate(w / "vae", limit=0), "limit = 0: at least 1", "", ""),
    (lambda w: latlas.evaluate(w / "vae", ais=0), "ais = 0: at least 1", "", ""),
    (lambda w: latlas.evaluate(w / "ae", ais=1), "ais: a plain", "evaluate W/ae --ais 1", "--ais: a plain"),
    (lambda w: latlas.evaluate(w / "ae", draws=5), "draws: posterior.name = point",
     "evaluate W/ae --importance 5", "--importance: posterior.name = point"),
    (lambda w: latlas.evaluate(w / "vae", ais=1, chains=0), "chains = 0: at",
     "evaluate W/vae --ais 1 --chains 0", "--chains 0: at"),
    (lambda w: latlas.evaluate(w / "vae", strength=0.5), "strength = 0.5: a strength needs a corruption",
     "evaluate W/vae --strength 0.5", "--strength 0.5: a strength needs a corruption"),
    (lambda w: latlas.evaluate(w / "vae", corrupt="fog"), "corrupt, strength: corruption.name = 'fog'",
     "evaluate W/vae --corrupt fog", "--corrupt, --strength: corruption.name = 'fog'"),
    (lambda w: latlas.evaluate(w / "vae", threads=0), "threads = 0: at least 1", "", ""),
    (lambda w: latlas.encode(w / "vae", device="cuda:99"), "device = cuda:99: not on",
     "encode W/vae --device cuda:99", "--device cuda:99: not on"),
    (lambda w: latlas.sample(w / "vae", 0), "n = 0: at least 1", "sample W/vae -n 0", "-n 0: at least 1"),
    (lambda w: latlas.sample(w / "vae", out="x.gif"), "out = x.gif: expected",
     "sample W/vae --out x.gif", "--out x.gif: expected"),
    (lambda w: latlas.morph(w / "vae", 0, 99), "end = 99: rows of", "morph W/vae --from 0 --to 99", "--to 99: rows of"),
    (lambda w: latlas.vary(w / "vae"), "row: the test split has 12", "vary W/vae", "--row: the test split has 12"),
    (lambda w: latlas.vary(w / "vae", row=2, scale=-1.0), "scale = -1: expected",
     "vary W/vae --row 2 --scale -1", "--scale -1: expected"),
    (lambda w: latlas.train(w / "ramps.npz", latent=0), "latent: model.latent = 0",
     "train W/ramps.npz --latent 0", "--latent: model.latent = 0"),
    (lambda w: latlas.train(w / "ramps.npz", label="y"), "data.label = y: has no",
     "train W/ramps.npz --label y", "--label y: has no"),
    (lambda w: latlas.train("digits", settings={"model.latent": 0}), "settings: model.latent = 0",
     "train digits --set model.latent=0", "--set: model.latent = 0"),
    (lambda w: latlas.animate(w / "vae", size=1), "size = 1: expected", "animate W/vae --size 1", "--size 1: expected"),
    (lambda w: latlas.plan_study("ae-vs-pca", budget="soon"), "budget = soon: expected",
     "study ae-vs-pca --budget soon", "--budget soon: expected"),
    (lambda w: latlas.plan_study("ae-vs-pca", seeds=0), "seeds = 0: at least 1", "", ""),
    (lambda w: latlas.plan_study("ae-vs-pca", seeds="2"), "seeds = '2': expected a whole number, got str", "", ""),
    (lambda w: latlas.plan_study("ae-vs-pca", limit=2.5), "limit = 2.5: expected a whole number, got float", "", ""),
    (lambda w: latlas.plan_study(3), "name: expected a path, got int", "", ""),
    (lambda w: latlas.evaluate(w / "vae", draws="x"), "draws = 'x': expected a whole number, got str", "", ""),
    (lambda w: latlas.evaluate(w / "vae", limit=2.5), "limit = 2.5: expected a whole number, got float", "", ""),
    (lambda w: latlas.evaluate(w / "vae", seed=True), "seed = True: expected a whole number, got bool", "", ""),
    (lambda w: latlas.evaluate(w / "vae", corrupt="gaussian", strength="x"), "strength = 'x': expected a number",
     "", ""),
    (lambda w: latlas.evaluate(w / "vae", 5), "measures: expected a name or a list of names, got int", "", ""),
    (lambda w: latlas.evaluate(w / "vae", "nope"), "unknown measure 'nope'", "", ""),
    (lambda w: latlas.evaluate(w / "vae", chains=4), "chains = 4: has no effect without",
     "evaluate W/vae --chains 4", "--chains 4: has no effect without"),
    (lambda w: latlas.evaluate(w / "vae", temperatures=9), "temperatures = 9: has no effect without",
     "evaluate W/vae --temperatures 9", "--temperatures 9: has no effect without"),
    (lambda w: latlas.sample(w / "vae", "x"), "n = 'x': expected a whole number, got str", "", ""),
    (lambda w: latlas.sample(w / "vae", 2.5), "n = 2.5: expected a whole number, got float", "", ""),
    (lambda w: latlas.load(w / "vae").sample("x"), "n = 'x': expected a whole number, got str", "", ""),
    (lambda w: latlas.sample(w / "vae", density="nope"), "density = nope: expected factored",
     "sample W/vae --density nope", "--density nope: expected factored"),
    (lambda w: latlas.sample(w / "vae", out=5), "out: expected a path, got int", "", ""),
    (lambda w: latlas.load(5), "run: expected a Run, its folder or its name, got int", "", ""),
    (lambda w: latlas.sample(5), "run: expected a Run, its folder or its name, got int", "", ""),
    (lambda w: latlas.morph(w / "vae", "a", 1), "start = a: neither a row, a file, nor the name of an item", "", ""),
    (lambda w: latlas.morph(w / "vae", 0, 1, steps=2.5), "steps = 2.5: expected a whole number", "", ""),
    (lambda w: latlas.vary(w / "vae", row="a"), "row = 'a': expected a whole number, got str", "", ""),
    (lambda w: latlas.vary(w / "vae", row=1, scale="a"), "scale = 'a': expected a number, got str", "", ""),
    (lambda w: latlas.encode(w / "vae", split="nope"), "split = nope: expected train, valid or test",
     "encode W/vae --split nope", "--split nope: expected train, valid or test"),
    (lambda w: latlas.encode(w / "vae", split=1), "split: expected a text, got int", "", ""),
    (lambda w: latlas.encode(w / "vae", device=1), "device: expected a text, got int", "", ""),
    (lambda w: latlas.encode(w / "vae", threads="x"), "threads = 'x': expected a whole number", "", ""),
    (lambda w: latlas.animate(w / "vae", seconds="x"), "seconds = 'x': expected a number, got str", "", ""),
    (lambda w: latlas.write_report(w / "vae", grid=(0, 4)), "grid = (0, 4): expected at least one row", "", ""),
    (lambda w: latlas.write_report(w / "vae", grid=5), "grid = 5: expected two numbers", "", ""),
    (lambda w: latlas.write_report(w / "vae", span=(4, 4)), "span = (4, 4): expected the lower end first",
     "report W/vae --span 4 4", "--span (4.0, 4.0): expected the lower end first"),
    (lambda w: latlas.compare_runs("x"), "run x: neither a folder nor a name", "", ""),
    (lambda w: latlas.compare_runs(5), "runs: expected runs, got int", "", ""),
    (lambda w: latlas.compare_runs([w / "vae", w / "ae"], measures="nope"), "unknown measure 'nope'", "", ""),
    (lambda w: latlas.train("digits", settings=["a"]), "settings: expected keys with values", "", ""),
    (lambda w: latlas.train("digits", config=5), "config: expected a path, got int", "", ""),
    (lambda w: latlas.train("digits", latent=0, steps=5), "latent: model.latent = 0",
     "train digits --latent 0 --steps 5", "--latent: model.latent = 0"),
    (lambda w: latlas.train("digits", device="foo"), "device: training.device = 'foo': expected auto, cpu, cuda",
     "train digits --device foo", "--device: training.device = 'foo': expected auto, cpu, cuda"),
    (lambda w: latlas.train("digits", settings={"pictures.grid": [0, 0]}),
     "settings: pictures.grid = 0: expected greater than or equal to 1", "", ""),
    (lambda w: latlas.train("digits", settings={"network.hidden": 3}),
     "settings: network.hidden = 3: expected a list, as [1, 2]", "", ""),
    (lambda w: latlas.train(w / "ramps.npz", kind="table"), "data.kind = table: ",
     "train W/ramps.npz --kind table", "--kind table: "),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message", "command", "line"), WRONG, ids=[m for _, m, *_ in WRONG])
def test_errors_speak_of_what_was_called(
    work: Path, capsys: pytest.CaptureFixture[str], call: Callable[[Path], object], message: str, command: str,
    line: str,
) -> None:  # fmt: skip
    with pytest.raises(InputError) as caught:
        call(work)
    assert str(caught.value).startswith(message)
    assert "--" not in str(caught.value)
    if command:
        capsys.readouterr()
        assert cli.run(command.replace("W/", f"{work}/").split()) == 2
        assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"error: {line}")


@pytest.mark.measured
def test_quick_leaves_out_numbers_and_diagnosis_but_not_what_is_asked_for(work: Path) -> None:
    few = {"steps": 2, "latent": 2, "limit": 60, "quiet": True}
    undrawn = {"pictures.draw": False}
    run = latlas.train("digits", out=work / "quick", quick=True, settings=undrawn, **few)
    assert set(run.metrics["splits"]["test"]) >= {"elbo", "distortion", "rate", "mse"}
    assert "numbers" not in run.metrics
    assert "findings" not in run.metrics
    assert (run.path / "report.html").exists()
    asked = latlas.train(
        "digits", out=work / "asked", quick=True, settings=undrawn | {"evaluation.groups": ["codes"]}, **few
    )
    assert asked.metrics["numbers"]


def test_a_run_is_loaded_as_its_folder_is(work: Path) -> None:
    run = Run(work / "vae")
    codes = np.zeros((2, run.model().latent), np.float32)
    np.testing.assert_array_equal(latlas.load(run).decode(codes), latlas.load(work / "vae").decode(codes))


def test_unknown_options_are_refused_by_name(work: Path) -> None:
    for call in (latlas.evaluate, latlas.encode, latlas.diagnose, latlas.sample, latlas.resume):
        with pytest.raises(TypeError, match="unknown option 'frames' \\(known: data_dir, device"):
            call(work / "vae", frames=3)  # type: ignore[operator]
    with pytest.raises(TypeError, match="unknown option 'frames'"):
        latlas.study("ae-vs-pca", frames=3)  # type: ignore[call-arg]


def test_evaluating_gives_what_the_command_prints(work: Path, printed: Printed) -> None:
    few = ("--ais", 2, "--chains", 2, "--temperatures", 5, "--corrupt", "gaussian", "--strength", 0.5, "-q")
    told = printed("evaluate", work / "vae", "--measure", "codes", "--limit", 7, "--importance", 20, *few)
    options: Any = {"limit": 7, "draws": 20, "ais": 2, "chains": 2, "temperatures": 5, "corrupt": "gaussian",
                    "strength": 0.5, "quiet": True}  # fmt: skip
    record = latlas.evaluation_of(work / "vae", ["codes"], **options)
    assert json.loads(json.dumps(record)) == told
    numbers = latlas.evaluate(
        Run(work / "vae"), ["codes", "bound", "mse", "corrupted_mse", "restored_mse"], **options
    )
    assert {"annealed_log_px", "active_units", "restored_mse", "elbo", "rate"} <= set(numbers)
    assert json.loads(json.dumps({name: numbers[name] for name in told["numbers"]})) == told["numbers"]
    for name in ("elbo", "distortion", "rate", "mse", "corrupted_mse", "restored_mse"):
        assert (numbers[name]["value"], numbers[name]["items"]) == (told[name], 7)
    assert numbers["elbo"]["stderr"] == told["elbo_stderr"]
    assert latlas.evaluate(work / "ae", (), quiet=True) == {}


def test_only_what_is_to_be_kept_is_kept(work: Path) -> None:
    path = work / "vae" / "metrics.json"
    before = path.read_bytes()
    latlas.evaluate(work / "vae", ["active_units"], quiet=True)
    for part in ({"limit": 5}, {"split": "valid"}, {"source": work / "ramps.npz"}):
        latlas.evaluation_of(work / "vae", ["active_units"], keep=True, quiet=True, **part)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    latlas.evaluation_of(work / "vae", ["active_units"], keep=True, quiet=True)
    assert set(Run(work / "vae").metrics["numbers"]) == {"active_units"}


def test_arrays_are_those_that_the_command_writes(work: Path, tmp_path: Path, printed: Printed) -> None:
    run, file = work / "vae", tmp_path / "arrays.npz"
    calls: dict[str, tuple[tuple[object, ...], Callable[[], inference.Output]]] = {
        "encode": (("--split", "valid"), lambda: latlas.encode(run, split="valid", quiet=True)),
        "reconstruct": ((work / "ramps.npz",), lambda: latlas.reconstruct(run, work / "ramps.npz", quiet=True)),
        "sample": (("-n", 5, "--seed", 3), lambda: latlas.sample(run, 5, seed=3, quiet=True)),
        "morph": (("--from", 1, "--to", 2), lambda: latlas.morph(run, 1, 2, quiet=True)),
        "vary": (("--row", 3, "--scale", 2), lambda: latlas.vary(run, row=3, scale=2.0, quiet=True)),
    }  # fmt: skip
    before = sorted(run.rglob("*"))
    for command, (words, call) in calls.items():
        made = call()
        assert (made.path, made.run) == (None, Run(run))
        printed(command, run, *words, "--out", file)
        with np.load(file) as written:
            assert set(written) - {"units"} == set(made.arrays)
            for name, array in made.arrays.items():
                np.testing.assert_array_equal(written[name], array)
    assert sorted(run.rglob("*")) == before
    codes = latlas.encode(run, quiet=True).arrays["mean"]
    assert latlas.encode(run, out="", quiet=True).path == run / "codes.npz"
    from_array, from_file = (latlas.decode(run, c, quiet=True) for c in (codes, run / "codes.npz"))
    np.testing.assert_array_equal(from_array.arrays["decoded"], from_file.arrays["decoded"])
    about = latlas.sample(work / "ae", 4, density="full", quiet=True).about
    assert (about["density"], about["codes"]) == ("full", 97)


def test_a_study_is_planned_and_carried_out(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(
        '[study]\nname = "small"\npca = false\n[settings]\n"training.steps" = 10\n"network.hidden" = [8]\n'
        '"pictures.draw" = false\n'
        '[[runs]]\nname = "two"\n"model.latent" = 2\n[[runs]]\nname = "three"\n"model.latent" = 3\n'
    )
    options: Any = {"out": "here", "threads": 1, "quiet": True}
    plan = latlas.plan_study("small.toml", str(work / "ramps.npz"), **options)
    assert [run.name for run in plan.runs] == ["two", "three"]
    assert not Path("here").exists()
    found = latlas.study("small.toml", [str(work / "ramps.npz")], **options)
    assert [run["state"] for run in found["runs"]] == ["finished", "finished"]
    assert Path(found["page"]).is_file()
    assert set(found["results"]) == {"ramps"}
    options |= {"out": "there", "settings": {"optimizer.lr": 0.5, "training": {"batch_size": 7}}}
    runs = latlas.plan_study("small.toml", str(work / "ramps.npz"), **options).runs
    assert {(run.config.optimizer.lr, run.config.training.batch_size) for run in runs} == {(0.5, 7)}
    for settings, message in (
        ({"model.latent": 4}, "model.latent: the rows of this study differ in it"),
        ({"seed": 4}, r"seed is not set here: \[study\] seeds says it"),
        ({"optimizer.l": 4}, "unknown key optimizer.l; did you mean optimizer.lr"),
        ([1], "settings: expected keys with values"),
    ):
        with pytest.raises(InputError, match=message):
            latlas.plan_study("small.toml", str(work / "ramps.npz"), **options | {"settings": settings})


def test_a_stopped_study_says_the_command_that_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise execute.Interrupted("stopped; the same call goes on with it")

    monkeypatch.setattr(api, "study", stop)
    assert (
        cli.run(["study", "ae-vs-pca", "my photos", "--data-dir", "there", "--budget", "10m", "--seeds", "2"])
        == 130
    )
    line = "go on with: latlas study ae-vs-pca 'my photos' --budget 10m --seeds 2 --data-dir there\n"
    assert capsys.readouterr().err.endswith(line)


def test_listings_are_what_the_commands_print(
    work: Path, printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert latlas.list_runs(work) == printed("runs", "--root", work)
    assert json.loads(json.dumps(latlas.list_data())) == printed("data", "list")
    assert json.loads(json.dumps(latlas.data_info("mnist"))) == printed("data", "info", "mnist")
    assert latlas.list_recipes() == printed("recipes", "list")
    for name in ("vae", "ae-vs-pca"):
        assert json.loads(json.dumps(latlas.show_recipe(name).values)) == printed("recipes", "show", name)
        assert cli.run(["recipes", "show", name]) == 0
        assert capsys.readouterr().out == latlas.show_recipe(name).text + "\n"
    with pytest.raises(InputError, match="comes with latlas"):
        latlas.fetch_data("digits")


def test_a_damaged_run_and_a_link_are_left_out_of_the_list(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    for name in ("vae", "ae"):
        shutil.copytree(work / name, tmp_path / name)
    (tmp_path / "ae" / "metrics.json").write_text("{")
    (tmp_path / "elsewhere").symlink_to(work / "vae")
    assert [row["name"] for row in latlas.list_runs(tmp_path)] == ["vae"]
    said = capsys.readouterr().err
    assert said.count("left out:") == 2
    assert "elsewhere is a link: name the folder to which it leads" in said


def test_reports_films_and_pages_are_written(work: Path, tmp_path: Path) -> None:
    run = work / "vae"
    assert latlas.write_report(run) == run / "report.html"
    assert not (run / "figures").exists()
    latlas.write_report(run, grid=(2, 2), quiet=True)
    assert (run / "figures" / "manifold.png").exists()
    film = latlas.animate(run, seconds=1, size=240, quiet=True)
    assert film.path == run / "animation.webp"
    assert b"data:image/webp" in (run / "report.html").read_bytes()
    page = tmp_path / "page.html"
    assert len(latlas.compare_runs([run, work / "ae"], page, pca=False, quiet=True).entries) == 2
    assert page.is_file()


def test_a_run_is_gone_on_with(work: Path, tmp_path: Path) -> None:
    toml = tmp_path / "more.toml"
    toml.write_text("[optimizer]\nlr = 0.01\n")
    run = latlas.train(work / "ramps.npz", config=toml, out=tmp_path / "run", settings=SETTINGS, **SMALL)
    assert run.config.optimizer.lr == 0.01
    assert latlas.resume(run, quiet=True) == latlas.resume(run.path, threads=1, quiet=True) == run
