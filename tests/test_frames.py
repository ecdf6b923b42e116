"""Numbers and logs as DataFrames: what the run's files say, one line each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import images

import latlas
from latlas.errors import InputError
from latlas.metrics import METRICS, OF_SPLITS

FIXTURES = Path(__file__).parent / "fixtures"
SETTINGS = {
    "network.hidden": [16],
    "training.log_every": 6,
    "training.batch_size": 27,
    "pictures.draw": False,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    folder = tmp_path_factory.mktemp("frames")
    np.savez(folder / "ramps.npz", x=images(200), y=np.arange(200) % 3)
    settings = SETTINGS | {"evaluation.groups": ["codes", "reconstruction"]}
    return latlas.train(
        folder / "ramps.npz", latent=2, epochs=3, out=folder / "run", settings=settings, quiet=True
    )


def test_every_number_has_a_line_with_what_it_is(run: latlas.Run) -> None:
    frame, metrics = run.numbers(), run.metrics
    assert not frame.duplicated(["name", "split"]).any()
    splits = {(name, split) for split, own in metrics["splits"].items() for name in OF_SPLITS if name in own}
    assert set(zip(frame["name"], frame["split"], strict=True)) == splits | {
        (name, "test") for name in metrics["numbers"]
    }
    for row in frame.to_dict("records"):
        metric = METRICS[row["name"]]
        assert (row["better"], row["group"], row["title"]) == (metric.better, metric.group, metric.title)
        own = metrics["splits"][row["split"]].get(row["name"])
        assert row["value"] == (metrics["numbers"][row["name"]]["value"] if own is None else own)
    elbo = frame[(frame["name"] == "elbo") & (frame["split"] == "valid")].iloc[0]
    assert elbo["stderr"] == metrics["splits"]["valid"]["elbo_stderr"]
    assert (elbo["unit"], elbo["items"]) == ("nats per image", metrics["splits"]["valid"]["images"])
    assert frame["stderr"].dtype == frame["value"].dtype == np.float64


def test_the_log_has_a_line_for_each_row_of_steps_and_epochs(run: latlas.Run) -> None:
    frame = run.history()
    log = [row for row in run.log() if row["kind"] in ("step", "epoch")]
    assert frame["kind"].tolist() == [row["kind"] for row in log]
    assert frame["step"].tolist() == [row["step"] for row in log]
    assert frame.columns[:3].tolist() == ["kind", "step", "epoch"]
    steps, epochs = run.history("step"), run.history("epoch")
    assert steps["train_loss"].tolist() == [row["loss"] for row in log if row["kind"] == "step"]
    assert steps["beta"].tolist() == [row["beta"] for row in log if row["kind"] == "step"]
    assert not any(name.startswith("valid_") for name in steps)
    of_epochs = [row for row in log if row["kind"] == "epoch"]
    assert epochs["train_elbo"].tolist() == [row["train"]["elbo"] for row in of_epochs]
    assert epochs["valid_elbo"].tolist() == [row["valid"]["elbo"] for row in of_epochs]
    assert epochs["best"].tolist() == [row["best"] for row in of_epochs]
    drawn = epochs.plot(x="step", y=["train_elbo", "valid_elbo"])
    assert [line.get_xydata().shape for line in drawn.lines] == [(3, 2), (3, 2)]
    with pytest.raises(InputError, match=r"unknown kind of rows 'epochs'; did you mean 'epoch'"):
        run.history("epochs")


def test_a_run_without_steps_or_numbers_has_frames_without_lines(run: latlas.Run, tmp_path: Path) -> None:
    begun = latlas.Run(tmp_path)
    for name in ("config.toml", "model.json", "run.json"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    assert begun.numbers().empty
    assert begun.history().empty
    assert begun.numbers().columns.tolist() == run.numbers().columns.tolist()
    (tmp_path / "log.jsonl").write_text(
        json.dumps({"kind": "skipped", "step": 3, "epoch": 1.0, "term": "loss"}) + "\n"
    )
    assert begun.history().columns.tolist() == ["kind", "step", "epoch"]


def test_a_run_of_an_earlier_version_has_them_too() -> None:
    (folder,) = (path.parent for path in FIXTURES.rglob("config.toml"))
    old = latlas.Run(folder)
    assert {"elbo", "mse"} <= set(old.numbers()["name"])
    assert {"train_loss", "valid_elbo"} <= set(old.history())


def test_what_calls_measure_is_a_frame_too(run: latlas.Run) -> None:
    numbers = latlas.evaluate(run, ["mse", "active_units"], quiet=True)
    assert isinstance(numbers, dict)
    frame = numbers.to_frame().set_index("name")
    assert list(frame.index) == ["active_units", "mse"]
    assert frame.loc["mse", "value"] == numbers["mse"]["value"]
    assert frame.loc["active_units", "beside"] == "all dimensions 2"
    findings = latlas.diagnose(run, quiet=True)
    assert isinstance(findings, list)
    assert findings.to_frame()["title"].tolist() == [finding.title for finding in findings]
    assert isinstance(findings.to_frame(), pd.DataFrame)
