"""Measures explorer pages in Chromium without GPU and WebGL: first picture, decode-and-draw on moves, frames.

python benchmarks/explorer.py ATLAS.html [ATLAS.html ...] prints a table and writes results/explorer.md, with
pages of 10,000 and 100,000 points of a linear model. Atlases are made by `latlas export RUN --html ATLAS.html`.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from latlas.machine import processor

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import explorer_data

RESULTS = Path(__file__).parent / "results" / "explorer.md"
MOVES, FRAMES, STARTS = 600, 240, 3
HEAD = f"""# The explorer in a browser

Chromium, offline, from file://, with `--disable-gpu --disable-3d-apis`, a window of 1280 x 800. Median / 95th
percentile in milliseconds. First picture: from opening the file to the map with a decoded picture beside it (one
made before, until the decoder runs), and to `latlas.ready`, median of {STARTS} starts. Decode and draw: {MOVES}
moves of the pointer, one each frame, from the event to the picture on the preview's canvas. A frame: the time
between {FRAMES} frames while the wheel zooms in and out, and how many came within 17.5 ms. Memory: the page's
JavaScript heap, and the resident memory of its process, which holds the runtime and pictures too.

"""
WATCH = """(() => { window.watch = { first: 0 };
for (const name of ['putImageData', 'drawImage']) { const draw = CanvasRenderingContext2D.prototype[name];
  CanvasRenderingContext2D.prototype[name] = function (...a) { draw.apply(this, a);
    if (this.canvas.dataset?.latlas !== 'preview') return;
    window.watch.first ||= performance.now(); window.watch.drawn?.(performance.now()); };
} })()"""
POINTER = """async (n) => {
const map = document.querySelector('[data-latlas=map]'), box = map.getBoundingClientRect(), times = [];
for (let i = 0; i < n; i++) {
  await new Promise(requestAnimationFrame);
  const t = i / n * 2 * Math.PI, where = { clientX: box.left + box.width * (.5 + .3 * Math.sin(5 * t)),
    clientY: box.top + box.height * (.5 + .3 * Math.cos(3 * t)), bubbles: true, pointerType: 'mouse' };
  const drawn = new Promise((done) => { window.watch.drawn = done; });
  const start = performance.now();
  map.firstChild.dispatchEvent(new PointerEvent('pointermove', where));
  times.push(await drawn - start); }
return times; }"""
WHEEL = """async (n) => {
const map = document.querySelector('[data-latlas=map]'), box = map.getBoundingClientRect(), times = [];
let last = await new Promise(requestAnimationFrame);
for (let i = 0; i < n; i++) {
  map.dispatchEvent(new WheelEvent('wheel', { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2,
    deltaY: i % 80 < 40 ? -15 : 15, bubbles: true, cancelable: true }));
  const now = await new Promise(requestAnimationFrame);
  times.push(now - last); last = now; }
return times; }"""


def both(times: list[float]) -> str:
    """The median and the 95th percentile."""
    return " / ".join(f"{v:.1f}" for v in np.percentile(times, (50, 95)))


def resident(tab: Any) -> float:
    """The resident memory of the page's process in MB."""
    session = tab.context.browser.new_browser_cdp_session()
    found = [
        p["id"] for p in session.send("SystemInfo.getProcessInfo")["processInfo"] if p["type"] == "renderer"
    ]
    pages = [
        int(Path(f"/proc/{i}/statm").read_text().split()[1]) for i in found if Path(f"/proc/{i}").exists()
    ]
    return max(pages, default=0) * 4096 / 1e6


def measured(browser: Browser, path: Path) -> list[str]:
    """The table's row of this page."""
    first, ready = [], []
    for start in range(STARTS):
        context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
        tab = context.new_page()
        tab.set_default_timeout(120_000)
        tab.add_init_script(WATCH)
        tab.goto(path.as_uri())
        ready.append(tab.evaluate("latlas.ready.then(() => performance.now())"))
        tab.wait_for_timeout(1500)
        first.append(tab.evaluate("window.watch.first"))
        if start < STARTS - 1:
            context.close()
    tab.wait_for_timeout(3000)
    tab.evaluate(POINTER, 60)
    moves = tab.evaluate(POINTER, MOVES)
    frames = tab.evaluate(WHEEL, FRAMES)
    heap = tab.evaluate("performance.memory.usedJSHeapSize / 1e6")
    row = [
        f"{path.stat().st_size / 1e6:.1f}",
        f"{tab.evaluate('latlas.points.n'):,}",
        f"{np.median(first) / 1000:.2f} / {np.median(ready) / 1000:.2f}",
        both(moves),
        both(frames),
        f"{100 * np.mean(np.array(frames) < 17.5):.0f} %",
        f"{heap:.0f} / {resident(tab):.0f}",
    ]
    context.close()
    return row


def many(folder: Path, n: int) -> Path:
    """A page of n points of a linear model, without thumbnails and values."""
    run = explorer_data.Linear(2, n=300).run(f"{n:,} points")
    items, draw = run["items"], np.random.default_rng(0)
    for key in ("elbo", "squared_error", "thumbnails", "values", "names", "kl", "deviations"):
        items.pop(key, None)
    codes = draw.normal(size=(n, 2)).astype(np.float32) * 0.8
    items |= {"n": n, "codes": explorer_data.block(codes)}
    items["labels"] = explorer_data.block(draw.integers(0, 3, n).astype(np.int32))
    run["projections"][0].pop("snapshots", None)
    run["sample"] = {"codes": explorer_data.block(codes[:5000] + 0.01)}
    path = folder / f"linear model, {n:,} points.html"
    path.write_text(explorer_data.page([run]), encoding="utf-8")
    return path


def main(paths: list[str]) -> None:
    """Measures the pages, prints and writes the table."""
    names = [
        "page",
        "MB",
        "points",
        "first picture / ready, s",
        "decode and draw, ms",
        "frame, ms",
        "within 17.5 ms",
        "heap / process, MB",
    ]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    flags = ["--no-sandbox", "--disable-gpu", "--disable-3d-apis"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as player:
        browser = player.chromium.launch(executable_path=chromium, args=flags)
        version = browser.version
        for path in [*map(Path, paths), many(Path(folder), 10_000), many(Path(folder), 100_000)]:
            lines.append("| " + " | ".join([path.stem, *measured(browser, path.resolve())]) + " |")
            print(lines[-1], flush=True)
        browser.close()
    told = f"\n{datetime.now(UTC):%Y-%m-%d}, Chromium {version}, {processor()}, {platform.platform()}.\n"
    RESULTS.write_text(HEAD + "\n".join(lines) + "\n" + told, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
