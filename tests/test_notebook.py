"""Results in notebooks: they show themselves as tables that stand alone, and progress is one line."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import images

import latlas
from latlas import console, html
from latlas.api.exploring import Explorer
from latlas.console import Console
from latlas.diagnosis import Finding
from latlas.notebook import Findings, Numbers, StudyResults

SETTINGS = {"network.hidden": [16], "pictures.draw": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    folder = tmp_path_factory.mktemp("notebook") / "a <b> & c"
    np.savez(folder.parent / "ramps.npz", x=images(150), y=np.arange(150) % 3)
    return latlas.train(
        folder.parent / "ramps.npz", latent=2, steps=10, out=folder, settings=SETTINGS, quiet=True
    )


FOUND = Finding(
    "odd", "Codes <collapse> & more", 0.8, "2 < 3", "Because.", "Do <this>.", {"optimizer.lr": 0.1}
)
NUMBER = {"title": "nu<m>ber", "group": "codes", "unit": "n&ts", "better": "higher", "decimals": 2, "why": "Why.",
          "value": 1.5, "stderr": 0.25, "items": 10, "beside": {"PCA": 1.0},
          "warning": "not to be trusted"}  # fmt: skip


def standing_alone(fragment: str) -> str:
    """The fragment, once it is seen that it is escaped, and refers to nothing outside itself."""
    assert fragment.lstrip().startswith('<div class="latlas">')
    assert fragment.count("<div") == fragment.count("</div>")
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script""", fragment)
    assert not re.search(r"<(b|collapse|this|m)>", fragment)
    return fragment


def test_a_run_shows_its_result(run: latlas.Run, tmp_path: Path) -> None:
    shown = standing_alone(run._repr_html_() or "")
    assert "a &lt;b&gt; &amp; c" in shown
    elbo = run.metrics["splits"]["test"]["elbo"]
    for text in (repr(run), shown):
        assert f"{elbo:.1f}".replace("-", "−") in text
    assert repr(run).startswith(f"<Run {run.path}: ramps · recipe vae")
    assert "\n" not in repr(run)
    gone = latlas.Run(tmp_path / "gone")
    assert gone._repr_html_() is None
    assert repr(gone).startswith(f"<Run {tmp_path / 'gone'}: ")
    assert eval("run == again", {"run": run, "again": latlas.Run(run.path)})


def test_a_picture_is_shown_small() -> None:
    import io

    from PIL import Image, PngImagePlugin

    about, content = PngImagePlugin.PngInfo(), io.BytesIO()
    about.add_itxt("Title", "Codes")
    Image.new("RGB", (800, 400), "red").save(content, "PNG", pnginfo=about)
    small = html.thumbnail(content.getvalue(), "latent")
    assert small is not None
    assert (small.width, small.height, small.title) == (380, 190, "Codes")
    assert html.thumbnail(b"no picture", "latent") is None


def test_findings_show_themselves(tmp_path: Path) -> None:
    found = Findings([FOUND, FOUND], tmp_path / "run")
    shown = standing_alone(found._repr_html_())
    assert shown.count("Codes &lt;collapse&gt; &amp; more") == 2
    assert "optimizer.lr=0.1" in shown
    assert "finding serious" in shown
    assert "SERIOUS: Codes <collapse> & more" in repr(found)
    assert found.to_frame()["level"].tolist() == ["serious", "serious"]
    none = Findings([], tmp_path)
    assert none == []
    assert "nothing wrong was found" in standing_alone(none._repr_html_())
    assert repr(none).startswith("Nothing wrong was found")


def test_numbers_show_themselves() -> None:
    numbers = Numbers({"purity": NUMBER})
    shown = standing_alone(numbers._repr_html_())
    for text in ("nu&lt;m&gt;ber", "n&amp;ts", "1.50 ± 0.25", "PCA 1.00", "Not to be trusted."):
        assert text in shown
    assert "1.50 ± 0.25" in repr(numbers)
    assert numbers == {"purity": NUMBER}
    assert "No numbers" in standing_alone(Numbers()._repr_html_())


def test_a_study_shows_its_tables_also_where_an_earlier_version_wrote_it() -> None:
    column = {"key": "elbo", "title": "ELBO", "unit": "nats", "decimals": 1, "better": "higher", "why": ""}
    entry = {"name": "<b>", "runs": ["x", "y"], "values": {"elbo": -9.87}, "spread": {"elbo": 0.5}, "stderrs": {},
             "best": ["elbo"], "within": []}  # fmt: skip
    found = {
        "columns": [column],
        "legend": "",
        "entries": [entry],
        "reasons": [],
        "notes": [],
        "text": "ELBO <b> −9.9",
    }
    study = StudyResults(
        study="s", title="A <b>", runs=[1, 2], cuts=[], results={"digits": found}, page="s/study.html"
    )
    shown = standing_alone(study._repr_html_())
    assert 'class="value best"' in shown
    assert "−9.9" in shown
    assert "the best of those that compare" in shown
    assert study.to_frame()["elbo_sd"].tolist() == [0.5]
    assert repr(study).splitlines()[0] == "A <b>: 2 runs on digits"
    old = StudyResults(
        study | {"results": {"digits": {k: v for k, v in found.items() if k not in ("columns", "legend")}}}
    )
    assert "ELBO &lt;b&gt; −9.9" in standing_alone(old._repr_html_())
    assert old.to_frame()["elbo"].tolist() == [-9.87]


def test_names_and_tables_of_others_stay_text_where_they_are_printed() -> None:
    study = StudyResults(
        study="s", runs=[], cuts=["c\x1b"], results={"d\x1b": {"text": "a\x1b[31m\nb\u202e"}}
    )
    assert repr(study) == "s: 0 runs on d\\x1b\n\nd\\x1b\na\\x1b[31m\nb\\u202e\n\nc\\x1b"
    assert repr(Explorer("", "a\x1b")).startswith("<Explorer of a\\x1b: ")


class Output:
    """The outputs of a notebook's cell, as IPython keeps them."""

    def __init__(self) -> None:
        self.states: list[list[str]] = []

    def display(self, data: dict[str, str], raw: bool, display_id: bool) -> Any:
        states = [data["text/plain"]]
        self.states.append(states)
        return SimpleNamespace(update=lambda data, raw: states.append(data["text/plain"]))


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Output:
    cell = Output()
    shell = SimpleNamespace(kernel=object())
    module = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=cell.display))
    return cell


def test_progress_is_one_line_below_the_notes(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with Console() as shown:
        shown.note("run folder: here")
        for step in range(1, 1001):
            now[0] += 0.01
            shown.progress("training", step, 1000, f"epoch {step // 100}/10")
            if step % 100 == 0:
                shown.epoch(f"epoch {step // 100}/10  validation ELBO −1.0")
        shown.note("done")
    (states,) = output.states
    assert len(states) < 50
    assert all(state.startswith("run folder: here") and state.count("\n") <= 2 for state in states)
    lines = [state.splitlines()[1] for state in states if "training" in state]
    found = [re.fullmatch(r"training █*░*\s+(\d+)%  epoch \d+/10  ([\d.]+) s left", line) for line in lines]
    told = [(int(line[1]), float(line[2])) for line in found if line]
    assert len(told) > 20
    assert all(left == pytest.approx((100 - share) / 10, abs=0.11) for share, left in told)
    assert states[-1] == "run folder: here\ndone"


def test_what_is_over_at_once_or_quiet_shows_nothing(output: Output) -> None:
    with Console() as shown:
        shown.progress("evaluating", 1, 2)
        shown.progress("evaluating", 2, 2)
    with Console(quiet=True) as silent:
        silent.note("kept")
        silent.epoch("epoch 1/2")
    assert silent.notes == ["kept"]
    assert output.states == []


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert not console.in_notebook()
    assert Console().cell is None


CELLS = (
    "import latlas",
    "run = latlas.train('digits', latent=2, epochs=10, out='one', settings={'evaluation.groups': []})",
    "run",
    "other = latlas.train('digits', latent=8, epochs=3, out='other', quick=True)",
    "latlas.compare_runs([run, other])",
    "latlas.diagnose(run)",
    "latlas.evaluate(run, ['codes'], limit=50)",
    "run.history('epoch').plot(x='epoch', y=['train_elbo', 'valid_elbo']);",
    "run.numbers()",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of the kernel's manager
def test_a_notebook_trains_shows_and_compares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises for a cell with an error
    outputs = {cell.source: cell.outputs for cell in notebook.cells}
    assert all(len(found) <= 2 for found in outputs.values())
    assert not [o for found in outputs.values() for o in found if o.output_type in ("stream", "error")]
    (training,) = outputs[CELLS[1]]
    assert "run folder: one" in training.data["text/plain"]
    assert len(training.data["text/plain"].splitlines()) < 12
    for source, said in (
        (CELLS[2], "Test ELBO"),
        (CELLS[4], "PCA (latent 8)"),
        (CELLS[5], "iagnosis"),
        (CELLS[6], "Codes"),
    ):
        assert said in standing_alone(outputs[source][-1].data["text/html"]) or source == CELLS[5]
    assert "image/png" in outputs[CELLS[7]][-1].data
