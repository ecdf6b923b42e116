"""Trackers: each gets all of a run, while it trains or afterwards, and none can harm it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import images
from PIL import Image

import latlas
from latlas import cli, experiment
from latlas.errors import InputError, LatlasError
from latlas.trackers import TRACKERS, Followers, made

SETTINGS = {"network.hidden": [16], "training.log_every": 3, "training.batch_size": 27}
OPTIONS: dict[str, Any] = {"latent": 2, "epochs": 2, "quiet": True, "settings": SETTINGS}
PLAIN = OPTIONS | {"settings": SETTINGS | {"pictures.draw": False}}


class Kept:
    """A tracker that keeps what it gets."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def start(self, config: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        self.calls.append(
            ("start", config["model.latent"], info["name"], info["step"], info["data"]["train"])
        )

    def step(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(("step", step, dict(values)))

    def epoch(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append(("epoch", step, dict(values)))

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        assert (image.dtype, image.ndim, image.shape[2] in (1, 3)) == (np.uint8, 3, True)
        self.calls.append(("picture", step, name))

    def end(self, numbers: Mapping[str, float]) -> None:
        self.calls.append(("end", dict(numbers)))

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "ramps.npz"
    np.savez(path, x=images(200), y=np.arange(200) % 3)
    return path


@pytest.fixture(scope="module")
def followed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[latlas.Run, Kept]:
    """A run, and what a tracker got of it. Its figures are made but not rendered: each is one white pixel."""
    kept, content = Kept(), io.BytesIO()
    out = tmp_path_factory.mktemp("runs") / "run"
    Image.new("RGB", (1, 1), "white").save(content, "PNG")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("latlas.figures.png", lambda figure, **options: content.getvalue())
        return latlas.train(source, out=out, tracker=kept, **OPTIONS), kept


def test_a_tracker_gets_what_the_run_folder_has(followed: tuple[latlas.Run, Kept]) -> None:
    run, kept = followed
    assert kept.calls[0] == ("start", 2, "run", 0, run.info["data"]["train"])
    for kind in ("step", "epoch"):
        rows = [row for row in run.log() if row["kind"] == kind]
        got = [call for call in kept.calls if call[0] == kind]
        assert [call[1] for call in got] == [row["step"] for row in rows]
        assert [call[2]["train/elbo"] for call in got] == [row.get("train", row)["elbo"] for row in rows]
    assert got[-1][2]["valid/elbo"] == rows[-1]["valid"]["elbo"]
    assert got[-1][2]["epoch"] == 2
    pictures = [call[2] for call in kept.calls if call[0] == "picture"]
    assert pictures[:2] == ["originals over reconstructions"] * 2
    assert set(pictures[2:]) == {path.stem for path in (run.path / "figures").glob("*.png")}
    name, numbers = kept.calls[-1]
    assert name == "end"
    assert numbers["test_elbo"] == run.metrics["splits"]["test"]["elbo"]
    assert numbers["valid_elbo_stderr"] == run.metrics["splits"]["valid"]["elbo_stderr"]


def test_a_copy_is_what_a_tracker_got_live(followed: tuple[latlas.Run, Kept]) -> None:
    run, live = followed
    copy = Kept()
    counts = latlas.log(run, to=copy, quiet=True)
    of_training = ("picture", "originals over reconstructions")
    assert copy.calls == [call for call in live.calls if (call[0], call[-1]) != of_training]
    assert {
        f"{name}s": copy.names().count(name) for name in ("step", "epoch", "picture")
    }.items() <= counts.items()
    assert counts["numbers"] == len(copy.calls[-1][1])


def test_a_tracker_changes_nothing_and_one_that_fails_is_named(
    source: Path, followed: tuple[latlas.Run, Kept], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(Kept):
        def step(self, step: int, values: Mapping[str, float]) -> None:
            super().step(step, values)
            raise RuntimeError("no connection")

    broken, kept = Broken(), Kept()
    run = latlas.train(source, out=tmp_path / "run", tracker=[broken, kept], **PLAIN | {"quiet": False})
    assert capsys.readouterr().err.count("the tracker Broken failed (no connection)") == 1
    assert broken.names() == ["start", "step"]
    assert kept.names() == [call[0] for call in followed[1].calls if call[0] != "picture" or " " in call[2]]
    assert (run.path / "model.safetensors").read_bytes() == (
        followed[0].path / "model.safetensors"
    ).read_bytes()


def test_a_run_that_is_stopped_ends_without_numbers_and_goes_on_where_it_was(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(Kept):
        def epoch(self, step: int, values: Mapping[str, float]) -> None:
            super().epoch(step, values)
            raise KeyboardInterrupt

    first, second = Stops(), Kept()
    with pytest.raises(experiment.Interrupted):
        latlas.train(source, out=tmp_path / "run", tracker=first, **PLAIN)
    assert first.calls[-1] == ("end", {})
    unfinished = Kept()
    latlas.log(tmp_path / "run", unfinished, quiet=True)
    assert unfinished.calls[-1] == ("end", {})
    run = latlas.resume(tmp_path / "run", tracker=second, quiet=True)
    assert second.calls[0][3] < run.metrics["steps"]
    assert second.calls[-1][1]["test_elbo"] == run.metrics["splits"]["test"]["elbo"]


def test_a_closed_form_starts_and_ends(source: Path, tmp_path: Path) -> None:
    kept = Kept()
    latlas.train(
        source,
        "pca",
        out=tmp_path / "pca",
        tracker=kept,
        latent=2,
        quiet=True,
        settings={"pictures.draw": False},
    )
    assert kept.names() == ["start", "end"]


def test_what_is_no_tracker_is_refused_before_anything_is_written(
    source: Path, followed: tuple[latlas.Run, Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    class Half:
        def start(self, config: object, info: object) -> None: ...

    run = followed[0]
    with pytest.raises(InputError, match=r"tracker: Half is no tracker: it lacks step, epoch, picture, end"):
        latlas.train(source, out=tmp_path / "run", tracker=Half(), **PLAIN)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"unknown tracker 'mlfow'; did you mean 'mlflow'"):
        latlas.log(run, "mlfow")
    with pytest.raises(InputError, match="experiment = mine: has no effect"):
        latlas.log(run, "tensorboard", experiment="mine")
    with pytest.raises(InputError, match="uri = here: has no effect"):
        latlas.log(run, Kept(), uri="here")

    class Fails(Kept):
        def end(self, numbers: Mapping[str, float]) -> None:
            raise OSError("disk full\nmore")

    with pytest.raises(LatlasError, match=r"Fails failed: disk full$"):
        latlas.log(run, Fails(), quiet=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.run(["log", str(run.path), "--to", "mlflow"]) == 2
    assert '--to: mlflow is not installed: pip install "latlas[mlflow]"' in capsys.readouterr().err


def test_importing_the_trackers_needs_none_of_their_packages() -> None:
    assert set(TRACKERS) == {"mlflow", "tensorboard"}
    assert not Followers()
    kept = Kept()
    assert made(kept) is kept


def test_tensorboard_gets_a_copy(followed: tuple[latlas.Run, Kept], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = followed[0]
    latlas.log(run, "tensorboard", uri=tmp_path, quiet=True)
    board = EventAccumulator(str(tmp_path / "run"))
    board.Reload()
    read = [(e.step, e.value) for e in board.Scalars("train/elbo")]
    assert read == [(r["step"], pytest.approx(r["elbo"])) for r in run.log() if r["kind"] == "step"]
    assert board.Scalars("numbers/test_elbo")[0].value == pytest.approx(run.metrics["splits"]["test"]["elbo"])
    assert "reconstructions" in board.Tags()["images"]
    own = EventAccumulator(str(run.path / "tensorboard"))
    own.Reload()
    assert own.Tags()["images"] == ["originals over reconstructions"]


def mlflow_run(place: str, experiment: str) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=place)
    (run,) = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return client, run


def check_copy(run: latlas.Run, client: Any, copy: Any) -> None:
    assert (copy.info.status, copy.info.run_name) == ("FINISHED", "run")
    assert copy.data.params["model.latent"] == "2"
    history = [(m.step, m.value) for m in client.get_metric_history(copy.info.run_id, "train/elbo")]
    assert history == [(r["step"], r["elbo"]) for r in run.log() if r["kind"] == "step"]
    valid = [(m.step, m.value) for m in client.get_metric_history(copy.info.run_id, "valid/elbo")]
    assert valid == [(r["step"], r["valid"]["elbo"]) for r in run.log() if r["kind"] == "epoch"]
    final = client.get_metric_history(copy.info.run_id, "test_elbo")
    assert [m.value for m in final] == [run.metrics["splits"]["test"]["elbo"]]
    files = {Path(file.path).stem for file in client.list_artifacts(copy.info.run_id, "pictures")}
    assert {path.stem for path in (run.path / "figures").glob("*.png")} <= files


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of its database
@pytest.mark.parametrize("place", ["folder", "sqlite"])
def test_mlflow_gets_a_copy_once(
    followed: tuple[latlas.Run, Kept], tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("mlflow")
    run = latlas.Run(Path(shutil.copytree(followed[0].path, tmp_path / "run")))
    about = json.loads((run.path / "run.json").read_text()) | {"created": "by somebody else's clock"}
    (run.path / "run.json").write_text(json.dumps(about))
    monkeypatch.chdir(tmp_path)
    uri = "store" if place == "folder" else f"sqlite:///{tmp_path / 'mlflow.db'}"
    for _ in range(2):  # a second time adds nothing
        assert (
            cli.run(["log", str(run.path), "--to", "mlflow", "--uri", uri, "--experiment", "mine", "--json"])
            == 0
        )
    client, copy = mlflow_run((tmp_path / uri).as_uri() if place == "folder" else uri, "mine")
    check_copy(run, client, copy)
    assert '"to": "mlflow"' in capsys.readouterr().out


@pytest.mark.slow
def test_mlflow_follows_a_run_that_stops_and_goes_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    class Stops(Kept):
        def epoch(self, step: int, values: Mapping[str, float]) -> None:
            raise KeyboardInterrupt

    with pytest.raises(experiment.Interrupted):
        latlas.train(source, out=tmp_path / "run", tracker=["mlflow", Stops()], **OPTIONS)
    assert mlflow_run((tmp_path / "store").as_uri(), "latlas")[1].info.status == "RUNNING"
    run = latlas.resume(tmp_path / "run", tracker="mlflow", quiet=True)
    check_copy(run, *mlflow_run((tmp_path / "store").as_uri(), "latlas"))
    assert "mlflow" in sys.modules
