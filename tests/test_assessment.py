"""A whole run, measured as users get it: at the end of training, by `latlas evaluate`, and in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import image_dataset, made

from latlas import api, metrics
from latlas.cli import run as latlas
from latlas.metrics import METRICS, Context, Effort, Value, display
from latlas.metrics import metric as readings
from latlas.runs import Run, find

SMALL = ("--beta", "200", "--limit", "1000", "--steps", "40", "--latent", "2", "--quiet", "--threads", "1")


def say(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = latlas([*map(str, words)])
    return code, *capsys.readouterr()


@pytest.mark.measured
def test_a_run_is_measured_and_diagnosed_at_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latlas.metrics.classifier.SEEN", 640)
    monkeypatch.setenv("LATLAS_CACHE", str(tmp_path / "cache"))
    effort = ("--set", "evaluation.items=50", "--set", "evaluation.draws=10")
    code, _, err = say(capsys, "train", "digits", *SMALL, *effort, "--out", tmp_path / "run")
    assert code == 0, err
    run = find(tmp_path / "run")
    found = run.metrics["numbers"]
    assert {about["group"] for about in found.values()} == set(readings.GROUPS) - {"disentanglement", "bound"}
    for about in found.values():
        assert about["items"] > 0
        assert {"title", "unit", "better", "why", "value"} <= set(about)
    assert (found["log_px"]["items"], found["log_px"]["draws"]) == (50, 10)
    assert set(found["probe_accuracy"]["beside"]) == {"PCA", "raw values"}
    assert found["log_px"]["value"] > run.metrics["splits"]["test"]["elbo"] - 5 * found["log_px"]["stderr"]
    assert found["mse"]["value"] == pytest.approx(run.metrics["splits"]["test"]["mse"], rel=1e-4)
    # At such a beta the codes collapse, and the run says so.
    assert run.metrics["findings"]
    html = (run.path / "report.html").read_text()
    assert html.index("What to look at") < html.index("The numbers") < html.index("Evaluation</h2>")
    for about in found.values():
        assert about["title"] in html.lower() or about["title"] in html
    assert html.lower().count("mean squared error") == 1
    assert "On the test items: PCA " in html
    _evaluated_again(run, capsys)


def _evaluated_again(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = run.metrics["numbers"]
    code, out, _ = say(capsys, "evaluate", run.path, "--measure", "downstream", "--json", "-q")
    assert code == 0
    assert set(json.loads(out)["numbers"]) == {name for name in before if METRICS[name].group == "downstream"}
    assert run.metrics["numbers"] == before  # the same again, and the others left as they are
    code, out, _ = say(capsys, "evaluate", run.path, "--measure", "log_px", "--importance", 30, "-q")
    assert (run.metrics["numbers"]["log_px"]["draws"], run.metrics["numbers"]["log_px"]["items"]) == (
        30,
        180,
    )
    assert "Likelihood" in out
    assert "180 items × 30 draws" in out
    assert "× 30 draws" in (run.path / "report.html").read_text()
    kept = (run.path / "metrics.json").read_bytes()
    for part in (("--limit", 20, "--measure", "codes"), ("--split", "valid"), ("--measure", "none")):
        assert say(capsys, "evaluate", run.path, "-q", *part)[0] == 0
    assert (run.path / "metrics.json").read_bytes() == kept


def test_what_fails_while_measuring_does_not_lose_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(metrics, "numbers", fail)
    asked = ("--set", 'evaluation.groups=["codes"]', "--set", "pictures.draw=false")
    words = [word for word in SMALL if word != "--quiet"]
    code, _, err = say(capsys, "train", "digits", *words, *asked, "--out", tmp_path / "run")
    assert code == 0
    assert "not everything could be measured (no room); try: latlas evaluate" in err
    run = find(tmp_path / "run")
    assert run.finished
    assert run.metrics["numbers"] == {}
    assert run.metrics["splits"]["test"]["elbo"] < 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--measure", "beauty"), "unknown measure 'beauty'"),
        (("--measure", "cods"), "did you mean 'codes'"),
        (("--measure", "knn"), "did you mean 'knn_accuracy'"),
        (("--importance", 10**7), "at most 1,000,000"),
        (("--ais", 3, "--temperatures", 1), "--temperatures 1"),
        (("--ais", 3, "--chains", 0), "--chains 0"),
    ],
)
def test_bad_calls_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    words: tuple[Any, ...],
    why: str,
) -> None:
    path = tmp_path_factory.getbasetemp() / "refusing"
    if not path.exists():
        assert say(capsys, "train", "digits", *SMALL, "--set", "pictures.draw=false", "--out", path)[0] == 0
    code, out, err = say(capsys, "evaluate", path, "-q", *words)
    assert (code, out) == (2, "")
    assert why in err
    assert err.count("\n") == 1


def test_annealed_numbers_are_kept_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "digits", *SMALL, "--set", "pictures.draw=false", "--out", tmp_path / "run")
    assert say(capsys, *words)[0] == 0
    few = ("--ais", 2, "--chains", 2, "--temperatures", 5, "--measure", "none")
    code, out, _ = say(capsys, "evaluate", tmp_path / "run", *few, "-q")
    assert code == 0
    assert "log p(x), annealed" in out
    found = find(tmp_path / "run").metrics["numbers"]
    assert set(found) == {"annealed_log_px", "annealed_gap", "hidden"}
    assert found["hidden"]["value"] == pytest.approx(
        found["annealed_log_px"]["value"] - found["annealed_log_px"]["beside"]["with the encoder"]
    )
    assert found["annealed_gap"]["value"] == pytest.approx(
        found["annealed_gap"]["beside"]["upper"] - found["annealed_gap"]["beside"]["lower"]
    )


def test_a_reading_is_written_as_people_read_it() -> None:
    about = {
        "title": "k-NN",
        "group": "downstream",
        "unit": "",
        "decimals": 3,
        "why": "Near ones.",
        "better": "higher",
    }
    full = Value(0.7, 0.0102, 2000, 5, {"PCA": 0.65}, by="judge <1>", warning="Few draws.")
    text = display.text({"knn": about | full.to_dict()})
    assert "  0.700 ± 0.010    PCA 0.650  2,000 items × 5 draws" in text
    assert "! k-NN: Few draws." in text
    (row,) = display.tables({"knn": about | full.to_dict()})["Downstream tasks"].rows
    assert [str(cell) for cell in row.cells] == ["k-NN", "0.700 ± 0.010", "PCA 0.650"]
    assert row.why == "Near ones. Of 2,000 items × 5 draws, by judge <1>."
    assert (row.key, row.warning) == ("knn", "Few draws.")
    assert not display.tables({})
    assert display.text({}) == ""


def test_means_and_shares_have_their_standard_errors() -> None:
    found = readings.mean_of([1.0, 2.0, 3.0, 6.0])
    assert (found.value, found.items) == (3, 4)
    assert found.stderr == pytest.approx((14 / 3) ** 0.5 / 2)
    assert readings.mean_of([1.0]).stderr is None
    share = readings.share_of([True] * 9 + [False])
    assert (share.value, share.stderr) == (0.9, pytest.approx((0.9 * 0.1 / 9) ** 0.5))


def test_costly_numbers_take_some_items_and_all_where_asked() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=2)
    assert len(Context(model, dataset, effort=Effort(5, 7)).few) == 7
    assert Context(model, dataset, effort=Effort(5, 7)).few.index.tolist()[0] == dataset.test.index[0]
    assert len(Context(model, dataset, effort=Effort(5, None)).few) == len(dataset.test)


def test_python_gives_the_same_numbers_and_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "digits", *SMALL, "--set", "pictures.draw=false", "--out", tmp_path / "run")
    assert say(capsys, *words)[0] == 0
    found = api.evaluate(tmp_path / "run", ["codes"], quiet=True)
    told = json.loads(say(capsys, "evaluate", tmp_path / "run", "--measure", "codes", "--json", "-q")[1])
    assert json.loads(json.dumps(found)) == told["numbers"]
    findings = [finding.name for finding in api.diagnose(tmp_path / "run", quiet=True)]
    told = json.loads(say(capsys, "diagnose", tmp_path / "run", "--json", "-q")[1])
    assert findings == [finding["name"] for finding in told["findings"]] != []
