"""A run folder of the first format, written before the parts described themselves: everything still reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from latlas import cli, runs
from latlas.metrics import GROUPS, display
from latlas.metrics.display import text

OLD = Path(__file__).parent / "fixtures" / "run-of-format-1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old-run"))


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert cli.run([*arguments, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def test_its_numbers_come_out_again(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = json.loads((OLD / "metrics.json").read_text())
    found = asked(capsys, "evaluate", str(old))
    for key, value in written["splits"]["test"].items():
        assert found[key] == pytest.approx(value, rel=1e-5), key
    for name, number in written["numbers"].items():
        # What a classifier judged was judged by another one then.
        if name in found["numbers"] and "by" not in number:
            assert found["numbers"][name]["value"] == pytest.approx(number["value"], rel=1e-3, abs=1e-5), name


def test_groups_under_their_old_names_are_read(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert '"use", "factors"]' in (old / "config.toml").read_text()
    assert runs.find(old).config.evaluation.groups == tuple(GROUPS)[1:]
    few = ("--limit", "60")
    found = asked(capsys, "evaluate", str(old), "--measure", "use", *few)["numbers"]
    assert found
    assert {number["group"] for number in found.values()} == {"downstream"}
    assert (
        asked(capsys, "evaluate", str(old), "--measure", "factors", *few)["numbers"] == {}
    )  # none are known


def test_numbers_of_an_old_group_stand_under_its_new_title(old: Path) -> None:
    written = runs.find(old).metrics["numbers"]
    assert written["probe_accuracy"]["group"] == "use"
    shown_text, tables = text(written), display.tables(written)
    assert shown_text.index("Downstream tasks") < shown_text.index("linear probe")
    assert "probe_accuracy" in [row.key for row in tables["Downstream tasks"].rows]
    assert not any(row.key == "reconstruction_mse" for table in tables.values() for row in table.rows)
    assert all(number["title"] in shown_text for number in written.values())


def test_it_is_used_and_shown(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "encode", str(old), "--out", str(old / "codes.npz"))["latent"] == 2
    assert np.isfinite(np.load(old / "codes.npz")["mean"]).all()
    assert asked(capsys, "report", str(old))["report"].endswith("report.html")
    page = (old / "report.html").read_text()
    assert "Test ELBO −27.5" in page
    assert "linear probe" in page
    assert "findings" in asked(capsys, "diagnose", str(old))
    assert asked(capsys, "compare", str(old), "--out", str(old / "page.html"))["entries"]
    assert cli.run(["animate", str(old), "--quiet"]) == 0


def test_it_goes_on_from_its_checkpoint(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = json.loads((OLD / "metrics.json").read_text())["splits"]["test"]
    (old / "metrics.json").unlink()
    found = asked(capsys, "train", "--resume", str(old))
    assert found["test"]["elbo"] == pytest.approx(written["elbo"], rel=1e-5)
