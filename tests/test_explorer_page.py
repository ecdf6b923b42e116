"""The explorer's page in a browser without network and WebGL, on a linear model of which every answer is known."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_data import BUNDLE, HOSTILE, SIDE, Linear, page, table
from PIL import Image

from latlas.api.exploring import Explorer

SOURCES = BUNDLE.parent / "page"
AXE = SOURCES / "node_modules" / "axe-core" / "axe.min.js"
BYTE = 1 / 255
PREVIEW = """() => { const c = document.querySelector('[data-latlas=preview]');
  return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).filter((_, i) => i % 4 == 0) }"""

pytestmark = pytest.mark.browser


def opened(browser: Any, path: Path, html: str, width: int = 1280, height: int = 800, **how: Any) -> Any:
    """The page of this file, ready; whatever it says on the console or asks the network for is in `troubles`."""
    path.write_text(html, encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **how)
    tab = context.new_page()
    tab.set_default_timeout(20_000)
    tab.troubles = []
    tab.on("console", lambda message: tab.troubles.append(message.text))
    tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
    tab.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else tab.troubles.append(r.url),
    )
    tab.goto(path.as_uri())
    tab.evaluate("latlas.ready")
    return tab


@pytest.fixture(scope="module")
def model() -> Linear:
    return Linear(2)


@pytest.fixture(scope="module")
def tab(browser: Any, model: Linear, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One page for all tests of a single run, which leave it usable for one another."""
    given = opened(browser, tmp_path_factory.mktemp("page") / "one.html", page([model.run("linear")]))
    yield given
    assert given.troubles == []


def settled(tab: Any, condition: str) -> None:
    """Waits until it is true. The page's policy forbids what Playwright's own waiting evaluates."""
    for _ in range(500):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(20)
    pytest.fail(f"never came true: {condition[:300]}")


def move(tab: Any, x: float, y: float, run: int = 0) -> list[float]:
    """Moves the pointer to a share of the map's width and height; the code that is then shown."""
    box = tab.locator("[data-latlas=map]").nth(run).bounding_box()
    before = tab.evaluate(f"JSON.stringify(latlas.runs[{run}].shown)")
    tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    settled(tab, f"JSON.stringify(latlas.runs[{run}].shown) != {json.dumps(before)}")
    return tab.evaluate(f"latlas.runs[{run}].shown.code")


def test_the_page_computes_what_the_model_does(tab: Any, model: Linear) -> None:
    points = tab.evaluate("({n: latlas.points.n, x: [...latlas.points.x], label: [...latlas.points.label]})")
    assert points["n"] == len(model.codes)
    np.testing.assert_allclose(points["x"], model.codes[:, 0], atol=1e-6)
    assert points["label"] == model.labels.tolist()
    decoded = tab.evaluate("latlas.decode([0.3, -1.2]).then(x => [...x])")
    np.testing.assert_allclose(decoded, model.decode(np.array([[0.3, -1.2]], np.float32)).ravel(), atol=1e-5)
    mean = tab.evaluate("values => latlas.encode(values).then(q => [...q.mean])", decoded)
    np.testing.assert_allclose(mean, [0.3, -1.2], atol=1e-5)
    assert tab.evaluate("latlas.place([0.5, 2]).x") == 0.5
    np.testing.assert_allclose(tab.evaluate("[...latlas.codeAt(0.5, 2)]"), [0.5, 2])


def test_moving_decodes_under_the_pointer(tab: Any, model: Linear) -> None:
    pictures = []
    for x, y in ((0.4, 0.5), (0.6, 0.35)):
        code = move(tab, x, y)
        expected = np.round(255 * model.decode(np.array([code], np.float32)).clip(0, 1)).ravel()
        settled(tab, f"({PREVIEW})().some((v, i) => Math.abs(v - {expected.tolist()}[i]) > 1) == false")
        pictures.append(expected)
    assert np.abs(pictures[0] - pictures[1]).max() > 5


def test_how_far_from_the_data_is_said(tab: Any, model: Linear) -> None:
    far, near = np.array([3.5, 3.5]), model.training[0]
    distance = [np.sort(np.linalg.norm(model.training - c, axis=1))[0] for c in model.codes]
    times = np.linalg.norm(model.training - far, axis=1).min() / np.median(distance)
    assert tab.evaluate("latlas.distance([3.5, 3.5])") == pytest.approx(times, rel=0.1)
    assert tab.evaluate("c => latlas.distance(c)", near.tolist()) == pytest.approx(0, abs=1e-5)
    assert tab.evaluate("[latlas.doubt(3.5, 3.5), latlas.doubt(-1, 1.3)]") == [1, pytest.approx(0, abs=0.2)]
    move(tab, 0.97, 0.03)
    settled(tab, "document.querySelector('.distance').textContent.includes('times further from the data')")
    assert float(tab.locator("[data-latlas=preview]").evaluate("c => c.style.opacity")) < 0.5


def test_an_item_is_found_and_shown(tab: Any, model: Linear) -> None:
    tab.get_by_role("combobox", name="Search items").fill("item-007")
    tab.keyboard.press("Enter")
    settled(tab, "latlas.state.item == 7 && latlas.state.tab == 'item'")
    panel = tab.locator("#latlas-item")
    panel.get_by_text("Reconstruction").wait_for()
    error = re.search(r"Reconstruction · squared error ([\d.e−]+)", panel.text_content() or "")
    assert error is not None
    assert float(error[1].replace("−", "-")) < 1e-9  # a linear model gives its items back
    np.testing.assert_allclose(tab.evaluate("latlas.state.code"), model.codes[7], atol=1e-6)
    panel.get_by_role("button", name="Next item").focus()
    for item in (8, 9):
        tab.keyboard.press("Enter")
        settled(tab, f"latlas.state.item == {item}")
        panel.get_by_text(f"item-{item:03}").first.wait_for()
    tab.evaluate("latlas.state = '#tab=item&item=7'")
    panel.get_by_text("item-007").first.wait_for()
    nearest = np.argsort(np.linalg.norm(model.codes - model.codes[7], axis=1))[1]
    first = panel.locator(".strip-of-items").first.get_by_role("button").first
    assert f"item-{nearest:03}" in (first.get_attribute("aria-label") or "")


def test_names_are_shown_as_text(tab: Any) -> None:
    assert tab.evaluate("window.attacked") is None
    assert tab.locator("#latlas img").count() == 0
    assert tab.get_by_role("button", name=HOSTILE).first.is_visible()
    tab.get_by_role("combobox", name="Search items").fill("onerror")
    assert HOSTILE in (tab.locator("#latlas-results").text_content() or "")
    tab.keyboard.press("Escape")


def test_the_legend_filters(tab: Any) -> None:
    chip = tab.get_by_role("button", name="circle").first
    chip.click()
    assert tab.evaluate("latlas.state.hidden") == [0]
    tab.keyboard.press("Enter")  # it still has the focus
    assert tab.evaluate("latlas.state.hidden") == []
    chip.dblclick()
    assert sorted(tab.evaluate("latlas.state.hidden")) == [-1, 1, 2]
    tab.get_by_role("button", name="Show all").click()
    assert tab.evaluate("latlas.state.hidden") == []


def test_dials_act_by_keys(tab: Any) -> None:
    tab.get_by_role("tab", name="Run").click()
    dial = tab.locator("[data-latlas=dial]").first
    assert dial.get_attribute("role") == "slider"
    dial.focus()
    k = int(dial.get_attribute("data-dimension"))
    before = tab.evaluate("latlas.state.code")
    for _ in range(20):
        tab.keyboard.press("ArrowRight")
    after = tab.evaluate("latlas.state.code")
    assert after[k] > before[k] + 0.05
    assert after[1 - k] == before[1 - k]


def test_keys_alone_reach_the_map(tab: Any) -> None:
    tab.get_by_role("combobox", name="Search items").focus()
    for _ in range(20):
        if tab.evaluate("document.activeElement.dataset.latlas") == "map":
            break
        tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.dataset.latlas") == "map"
    tab.keyboard.press("ArrowRight")
    before = tab.evaluate("latlas.runs[0].shown.place[0]")
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("latlas.runs[0].shown.place[0]") > before
    tab.keyboard.press("Enter")
    assert tab.evaluate("latlas.state.item") >= 0
    tab.keyboard.press("+")
    assert tab.evaluate("latlas.state.zoom") > 1.2
    tab.keyboard.press("0")
    assert tab.evaluate("latlas.state.zoom") == pytest.approx(1)


def saved(tab: Any, button: str) -> bytes:
    with tab.expect_download() as download:
        tab.get_by_role("button", name=button, exact=True).click()
    return Path(download.value.path()).read_bytes()


def test_a_morph_is_played_and_saved(tab: Any, model: Linear) -> None:
    tab.get_by_role("tab", name="Morph").click()
    for item in (0, 1):
        tab.evaluate(f"latlas.state = '#tab=morph&item={item}'")
        tab.get_by_role("button", name="Add what is shown").click()
    tab.locator("[data-latlas=play]").click()
    settled(tab, "Number(document.querySelector('[data-latlas=scrub]').value) > 0.02")
    tab.locator("[data-latlas=play]").click()
    rows = list(csv.DictReader(io.StringIO(saved(tab, "Codes as CSV").decode())))
    ways: dict[str, list[list[float]]] = {}
    for row in rows:
        ways.setdefault(row["way"], []).append([float(row["z1"]), float(row["z2"])])
    t = np.linspace(0, 1, len(ways["Straight"]))[:, None]
    np.testing.assert_allclose(ways["Straight"], (1 - t) * model.codes[0] + t * model.codes[1], atol=1e-3)
    for way in ways.values():  # all lead from one item to the other
        np.testing.assert_allclose([way[0], way[-1]], model.codes[:2], atol=1e-3)
    lengths = np.linalg.norm(ways["Along the sphere"], axis=1)
    np.testing.assert_allclose(np.diff(lengths, 2), 0, atol=1e-4)
    film = Image.open(io.BytesIO(saved(tab, "GIF")))
    assert film.format == "GIF"
    assert film.n_frames == 94  # type: ignore[attr-defined]
    film.seek(50)
    film.load()
    tab.get_by_role("button", name="Clear", exact=True).first.click()


def test_a_walk_keeps_its_start_and_is_a_link(tab: Any, model: Linear) -> None:
    tab.evaluate("latlas.state = '#tab=item&item=4'")
    tab.get_by_role("button", name="Walk from here").click()
    tab.evaluate("latlas.state = '#tab=morph&item=9&walk=i4_0.5,-0.25_i9999_1'")
    assert tab.evaluate("latlas.state.walk.map(stop => stop.item)") == [4, -1]
    rows = list(csv.DictReader(io.StringIO(saved(tab, "Codes as CSV").decode())))
    ends = [[float(rows[at]["z1"]), float(rows[at]["z2"])] for at in (0, 47)]
    np.testing.assert_allclose(ends, [model.codes[4], [0.5, -0.25]], atol=1e-3)
    tab.evaluate("latlas.state = '#tab=item&item=7'")
    tab.get_by_role("button", name="Walk from here").click()
    tab.evaluate("latlas.state = '#tab=morph&item=11'")  # a link without stops leaves those that are chosen
    assert tab.locator(".stops button").count() == 2
    tab.get_by_role("button", name="Clear", exact=True).first.click()


def test_the_lines_of_the_density_are_explained(tab: Any) -> None:
    words = tab.get_by_text("dashed ones 50 % and 90 % of the prior")
    assert not words.is_visible()
    for shown in (True, False):
        tab.get_by_role("button", name="Density").click()
        assert words.is_visible() is shown


def test_two_groups_make_an_axis(tab: Any, model: Linear) -> None:
    tab.get_by_role("tab", name="Groups").click()
    means = []
    for group, label in (("A", 0), ("B", 1)):
        tab.get_by_label(f"Class as group {group}").select_option(label=["circle", "square"][label])
        means.append(model.codes[model.labels == label].mean(0))
    assert "100 % of the items" in tab.locator("#latlas-groups").text_content()
    tab.get_by_role("button", name="Start at A's mean").click()
    np.testing.assert_allclose(tab.evaluate("latlas.runs[0].shown.code"), means[0], atol=1e-5)
    tab.get_by_label("From group A to group B").fill("1")
    np.testing.assert_allclose(tab.evaluate("latlas.runs[0].shown.code"), means[1], atol=1e-5)
    for name, item in (("a", 0), ("b", 1), ("c", 4)):
        tab.evaluate(f"latlas.state = '#tab=groups&item={item}'")
        tab.get_by_role("button", name=f"Set {name}", exact=True).click()
    a, b, c = model.codes[[0, 1, 4]]
    settled(tab, f"Math.abs(latlas.runs[0].shown.code[0] - {a[0] - b[0] + c[0]}) < 1e-4")
    np.testing.assert_allclose(tab.evaluate("latlas.runs[0].shown.code"), a - b + c, atol=1e-5)
    tab.get_by_role("button", name="Clear", exact=True).last.click()


def test_a_picture_of_ones_own_is_placed(tab: Any, model: Linear, tmp_path: Path) -> None:
    tab.get_by_role("tab", name="Yours").click()
    code = np.array([[1.1, 0.4]], np.float32)
    values = np.round(255 * model.decode(code)[0, ..., 0]).astype(np.uint8)
    Image.fromarray(values).resize((SIDE * 8, SIDE * 8), Image.Resampling.NEAREST).save(tmp_path / "own.png")
    tab.locator("[data-latlas=file]").set_input_files(tmp_path / "own.png")
    settled(tab, "latlas.runs[0].shown.from == 'own' && Math.abs(latlas.runs[0].shown.code[0] - 1.1) < 0.05")
    assert np.abs(np.array(tab.evaluate("latlas.runs[0].shown.place")) - code).max() < SIDE * BYTE
    easel = tab.locator("[data-latlas=easel]")
    easel.hover(position={"x": 120, "y": 60})
    tab.mouse.down()
    easel.hover(position={"x": 180, "y": 120})
    tab.mouse.up()
    tab.wait_for_timeout(150)
    drawn = tab.evaluate(PREVIEW.replace("preview", "easel"))
    expected = model.encode(np.array(drawn) / 255)[0]
    assert np.abs(expected - code).max() > 0.05, "the brush changes the picture"
    np.testing.assert_allclose(tab.evaluate("latlas.runs[0].shown.code"), expected, atol=1e-3)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    tab.locator("[data-latlas=file]").set_input_files(tmp_path / "broken.png")
    tab.get_by_text("broken.png is no picture that this browser can read.").wait_for()


def test_the_view_is_a_link(tab: Any) -> None:
    tab.evaluate("latlas.state = '#at=0.5,-0.25,4&item=12&without=1&layers=points,doubt&tab=overview'")
    state = tab.evaluate("latlas.state")
    assert (state["x"], state["y"], state["item"], state["hidden"]) == (0.5, -0.25, 12, [1])
    assert state["zoom"] == pytest.approx(4)
    assert state["layers"] == ["points", "doubt"]
    tab.evaluate("latlas.state = '#at=nonsense&item=9999&without=1&layers=points,pictures,plane,doubt,names'")
    assert tab.evaluate("latlas.state.item") == 12
    tab.get_by_role("button", name="Show all").click()
    lines = []
    tab.get_by_text("Take away").click()
    lines = list(csv.DictReader(io.StringIO(saved(tab, "Codes as CSV").decode())))
    assert len(lines) == 240
    assert lines[3]["label"] == "circle"
    assert HOSTILE in lines[3]["name"]
    tab.get_by_text("Take away").click()


def test_training_is_played_through(tab: Any) -> None:
    sums = """JSON.stringify(Array.from(document.querySelectorAll('[data-latlas=map] canvas')).slice(0, 2).map(c => c
      .getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, v, i) => a + v * (i % 97), 0)))"""
    tab.evaluate("latlas.state = '#at=0,0,1&layers=points,plane'")
    tab.wait_for_timeout(100)
    plane, points = json.loads(tab.evaluate(sums))
    tab.locator("[data-latlas=time]").fill("0")
    settled(tab, f"JSON.parse({sums}).every((v, k) => v != [{plane}, {points}][k])")
    assert tab.locator(".time output").text_content() == "step 0"
    tab.locator("[data-latlas=time]").fill("3")
    settled(tab, f"{sums} == '[{plane},{points}]'")


def test_the_pointer_shows_what_was_decoded_then(tab: Any, model: Linear) -> None:
    tab.evaluate("latlas.state = '#at=0,0,1&layers=points,plane'")
    for step, scale in ((0, 0.1), (1, 0.5)):
        tab.locator("[data-latlas=time]").fill(str(step))
        move(tab, 0.55 + 0.02 * step, 0.42)
        x, y = tab.evaluate("latlas.shown.place")
        cell = [-4 + 8 * (np.floor((v + 4) / 8 * 16) + 0.5) / 16 for v in (x, y)]
        expected = np.round(255 * model.decode(scale * np.array([cell], np.float32)).clip(0, 1)).ravel()
        settled(tab, f"({PREVIEW})().some((v, i) => Math.abs(v - {expected.tolist()}[i]) > 1) == false")
        assert tab.locator(".place").first.text_content() == f"Under the pointer at step {50 * step}"
    tab.locator("[data-latlas=time]").fill("3")  # and at the end again what is decoded now
    expected = np.round(255 * model.decode(np.array([[x, y]], np.float32)).clip(0, 1)).ravel()
    settled(tab, f"({PREVIEW})().some((v, i) => Math.abs(v - {expected.tolist()}[i]) > 1) == false")
    assert tab.locator(".place").first.text_content() == "Under the pointer"


def test_what_a_step_lacks_is_said(browser: Any, tmp_path: Path) -> None:
    run = Linear(3).run("three")
    snapshots = run["projections"][0]["snapshots"]
    snapshots |= {"note": "By neighbours.", "lacks": "Needs training.snapshot_weights=true."}
    other = {"kind": "axes", "title": "Dimensions 1 and 2", "axes": [0, 1], "rest": [0, 0, 0]}
    run["projections"].append(other)
    tab = opened(browser, tmp_path / "three.html", page([run]))
    words = tab.locator(".time .fine")
    assert words.text_content() == ""
    tab.locator("[data-latlas=time]").fill("1")
    said = (
        "By neighbours. Needs training.snapshot_weights=true. Doubt and density are known of the end alone."
    )
    settled(tab, f"document.querySelector('.time .fine').textContent == {json.dumps(said)}")
    move(tab, 0.5, 0.5)
    settled(tab, "document.querySelector('.place').textContent.includes('weights of the end of training')")
    tab.locator("[data-latlas=time]").fill("3")
    assert words.text_content() == ""
    assert tab.troubles == []
    tab.context.close()


def test_axe_finds_nothing_serious(tab: Any) -> None:
    if not AXE.exists():
        pytest.skip("axe-core: run npm ci in src/latlas/explorer/page")
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    faults = []
    for name in ("overview", "item", "morph", "yours", "groups"):
        tab.evaluate(f"document.getElementById('latlas-tab-{name}').click()")
        where = "#latlas" if name in ("overview", "item") else f"#latlas-{name}"
        found = tab.evaluate("where => axe.run(where, {resultTypes: ['violations']})", where)["violations"]
        faults += [
            f"{name}: {v['id']} {v['nodes'][0]['html'][:120]} {v['nodes'][0]['failureSummary'][:200]}"
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        tab.emulate_media(color_scheme="dark")  # all but the first in dark
        tab.wait_for_timeout(200)  # until colours have changed
    tab.emulate_media(color_scheme="light")
    assert faults == []


def by_neighbours(rows: np.ndarray, of: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The mean of `of` over the 4 rows nearest to the point, weighted by 1 / distance."""
    distance = np.linalg.norm(rows - point, axis=1)
    near = np.argsort(distance)[:4]
    return np.average(of[near], axis=0, weights=1 / distance[near])


@pytest.mark.slow
def test_two_runs_follow_each_other_by_picture(browser: Any, model: Linear, tmp_path: Path) -> None:
    other = Linear(6)
    tab = opened(browser, tmp_path / "two.html", page([model.run("a"), other.run("b")], same_items=True))
    for here, there, a, b in ((0, 1, model, other), (1, 0, other, model)):
        code = np.array([move(tab, 0.42, 0.55, here)], np.float32)
        expected = b.encode(a.decode(code))[0]
        settled(
            tab,
            f"latlas.runs[{there}].shown.from == 'link' && latlas.runs[{there}].shown.code.every("
            f"(v, k) => Math.abs(v - {expected.tolist()}[k]) < 1e-3)",
        )
    draw = np.random.default_rng(0)
    for code in draw.normal(size=(3, 6)).astype(np.float32):
        np.testing.assert_allclose(
            tab.evaluate("c => latlas.runs[1].place(c).slice(0, 2)", code.tolist()),
            by_neighbours(other.codes, other.codes[:, :2], code),
            atol=1e-5,
        )
        found = tab.evaluate("([x, y]) => [...latlas.runs[1].codeAt(x, y)]", code[:2].tolist())
        np.testing.assert_allclose(found, by_neighbours(other.codes[:, :2], other.codes, code[:2]), atol=1e-5)
    tab.evaluate("latlas.state = '#run=1&item=5'")
    assert tab.evaluate("latlas.runs[1].shown.from") == "item"
    tab.get_by_text("Take away").click()
    sides = [tab.locator("[data-latlas=map]").nth(at).bounding_box()["width"] for at in (0, 1)]
    both = Image.open(io.BytesIO(saved(tab, "Maps as PNG")))
    assert both.width == pytest.approx(4 * sum(sides), rel=0.03)
    tab.get_by_text("Take away").click()
    summary = tab.get_by_text("collapsed dimension")
    tab.get_by_role("tab", name="Run").click()
    assert summary.first.is_visible()
    assert tab.locator("[data-latlas=dial]").count() == 6
    assert tab.troubles == []
    tab.context.close()


def test_a_table_on_a_phone(browser: Any, tmp_path: Path) -> None:
    tab = opened(
        browser, tmp_path / "table.html", page([table()]), 390, 844, has_touch=True, color_scheme="dark"
    )
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390, "nothing scrolls sideways"
    box = tab.locator("[data-latlas=map]").bounding_box()
    tab.touchscreen.tap(box["x"] + 100, box["y"] + 80)
    assert "height in cm" in tab.locator("[data-latlas=preview]").get_attribute("aria-label")
    tab.get_by_role("tab", name="Yours").click()
    assert 0 <= tab.get_by_role("tablist").bounding_box()["y"] < 500, "the panel comes into sight"
    for k, value in enumerate((110, 3.5, 2)):  # 10 z1 + 100, z2 / 2 + 3, z1 + z2
        tab.locator("[data-latlas=field]").nth(k).fill(str(value))
    settled(
        tab,
        "latlas.runs[0].shown.from == 'own' && latlas.runs[0].shown.code.every(v => Math.abs(v - 1) < 1e-3)",
    )
    assert tab.evaluate("window.attacked") is None
    assert tab.troubles == []
    tab.context.close()


def test_a_table_of_many_columns(browser: Any, tmp_path: Path) -> None:
    tab = opened(browser, tmp_path / "wide.html", page([table(more=27)]))
    tab.evaluate("latlas.state = '#code=2,0'")
    label = "document.querySelector('[data-latlas=preview]').getAttribute('aria-label')"
    settled(tab, f"{label}.includes('height in cm: 120')")
    said = tab.evaluate(label)
    assert said.index("height in cm") < said.index("gene 0"), "what stands out comes first"
    assert said.count("gene") < 27
    settled(
        tab, "[...document.querySelectorAll('.moved')].some(e => e.textContent.includes('height in cm ↑'))"
    )
    tab.get_by_role("combobox", name="Search items").fill("patient")
    assert tab.get_by_text("and 82 more").is_visible()
    tab.get_by_role("combobox", name="Search items").fill("nobody")
    assert tab.get_by_text("None of the 90 test items").is_visible()
    tab.get_by_role("combobox", name="Search items").fill("")
    tab.get_by_role("tab", name="Yours").click()
    row = tab.get_by_role("textbox", name="A row")
    for line in (
        "patient 3,B cell," + "7," * 27 + "110,3.5,2",
        "\t".join(["7,0"] * 27 + ["110,0", "3,5", "2"]),
    ):
        row.fill("1, 2")
        row.press("Enter")
        assert "has 30 numbers: gene 0 to x; this one has 2" in tab.locator(".yours .verdict").text_content()
        row.fill(line)
        row.press("Enter")
        settled(
            tab, "latlas.runs[0].shown.from == 'own' && Math.abs(latlas.runs[0].shown.code[0] - 1) < 1e-3"
        )
        assert ("Not read, as no number: patient 3, B cell" in tab.locator(".yours").text_content()) is (
            "B" in line
        )
        tab.evaluate("latlas.state = '#code=2,0&tab=yours'")
    assert tab.troubles == []
    tab.context.close()


@pytest.mark.slow
def test_a_frame_in_a_notebook_saves_files(browser: Any, model: Linear, tmp_path: Path) -> None:
    cell = Explorer(page([model.run("linear")]), "linear")._repr_html_()
    (tmp_path / "notebook.html").write_text(f"<!doctype html><meta charset=utf-8>{cell}", encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 860}, offline=True)
    tab = context.new_page()
    tab.goto((tmp_path / "notebook.html").as_uri())
    frame = tab.frame_locator("iframe")
    frame.get_by_text("Take away").click()
    with tab.expect_download() as download:
        frame.get_by_role("button", name="Codes as CSV").click()
    assert Path(download.value.path()).read_text().startswith("row,name,label,x,y,z1,z2\n")
    context.close()


def test_a_live_page_asks_its_server(browser: Any, model: Linear) -> None:
    asked: list[tuple[str, str | None]] = []

    def serve(route: Any) -> None:
        request = route.request
        name = request.url.rsplit("/", 1)[1]
        asked.append((name, request.headers.get("x-latlas-token")))
        body = np.frombuffer(request.post_data_buffer or b"", np.float32)
        if name == "data.json":
            networks = {k: {"kind": "server", "url": k} for k in ("decoder", "encoder")}
            run = model.run("live") | networks
            data = {"format": 1, "title": "Live", "version": "0", "runs": [run], "token": "secret"}
            route.fulfill(body=json.dumps(data), content_type="application/json")
        elif name == "decoder":
            route.fulfill(body=model.decode(body.reshape(-1, 2)).astype(np.float32).tobytes())
        elif name == "encoder":
            mean = model.encode(body.reshape(-1, SIDE, SIDE, 1))
            rows = np.concatenate([mean, np.full_like(mean, 0.5)], 1)
            route.fulfill(body=rows.astype(np.float32).tobytes())
        else:
            style, script = ((BUNDLE / f"explorer.{kind}").read_text("utf-8") for kind in ("css", "js"))
            body = f"<style>{style}</style><div id=latlas></div><script>{script}</script>"
            body += "<script>latlasExplorer.boot()</script>"
            route.fulfill(body=f"<!doctype html><title>x</title>{body}", content_type="text/html")

    tab = browser.new_page()
    tab.route("**/*", serve)
    tab.goto("http://127.0.0.1:9/live")
    tab.evaluate("latlas.ready")
    code = np.array([[0.5, -0.5], [1, 2]], np.float32)
    values = tab.evaluate("c => latlas.decode(c).then(x => [...x])", code.ravel().tolist())
    np.testing.assert_allclose(values, model.decode(code).ravel(), atol=1e-5)
    found = tab.evaluate("v => latlas.encode(v).then(q => [[...q.mean], [...q.std]])", values)
    np.testing.assert_allclose(found, [code.ravel(), [0.5] * 4], atol=1e-5)
    assert {token for name, token in asked if name in ("decoder", "encoder")} == {"secret"}
    tab.close()


@pytest.mark.slow
def test_the_bundle_is_what_its_sources_make(tmp_path: Path) -> None:
    if not AXE.exists() or shutil.which("node") is None:
        pytest.skip("Node and npm ci in src/latlas/explorer/page")
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=SOURCES, check=True, timeout=300)
    for path in sorted(BUNDLE.iterdir()):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
