"""The report: all a run folder holds, on one page that needs nothing else and shows whatever is there."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latlas import figures, report
from latlas.errors import InputError

INFO = {
    "format": 1,
    "latlas": "0.1.0",
    "torch": "2.13.0",
    "threads": 2,
    "created": "2026-01-02T03:04:05+00:00",
    "data": {
        "name": "garments",
        "kind": "image",
        "shape": [1, 28, 20],
        "classes": ["a", "b"],
        "train": 5400,
        "fingerprint": "5eed",
    },
    "notes": ["likelihood: bernoulli, because the images are grey"],
}
TEST = {"images": 10000, "elbo": -261.3, "elbo_stderr": 0.41, "distortion": 255.0, "rate": 6.3, "mse": 0.0261}
METRICS = {
    "run": "garments-vae-1",
    "data": "garments",
    "recipe": "vae",
    "network": "mlp",
    "likelihood": "bernoulli",
    "latent": 2,
    "parameters": 1335602,
    "epochs": 10,
    "steps": 4220,
    "seconds": 139.2,
    "images_per_second": 24000.0,
    "unit": "nats per image",
    "normalised": False,
    "splits": {"test": TEST, "valid": TEST | {"images": 600, "elbo": -260.75}},
    "finished": True,
}
LOG = [
    {"kind": "step", "step": 50, "epoch": 0.5, "elbo": -400.0},
    {"kind": "epoch", "step": 100, "epoch": 1, "valid": {"elbo": -300.25}},
    {"kind": "step", "step": 1266, "epoch": 1.5, "elbo": -290.0},
]
VOID = {"meta", "link", "img", "br", "wbr", "input", "hr"}


class Page(HTMLParser):
    """Tags, balance, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def make(
    folder: Path,
    name: str = "garments-vae-1",
    metrics: dict[str, Any] | None = METRICS,
    pictures: bool = True,
) -> Path:
    """A run folder as training leaves it; without metrics, an unfinished one."""
    run = folder / name
    run.mkdir()
    (run / "config.toml").write_text('seed = 0\n[recipe]\nname = "vae"\n[network]\nname = "mlp" # <&>\n')
    (run / "run.json").write_text(json.dumps(INFO))
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOG))
    if metrics is not None:
        (run / "metrics.json").write_text(json.dumps(metrics))
    if pictures:
        x = np.random.default_rng(0).random((4, 6, 5, 1))
        for stem in ("losses", "samples", "extra", "reconstructions"):
            figure = figures.image_grid(x, f"The {stem} & <more>")
            figures.save(figure, run / "figures" / f"{stem}.png", f'How to read "{stem}".')
    return run


def read(run: Path) -> Page:
    path = report.write_report(run)
    assert path == run / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_the_report_says_what_came_out(tmp_path: Path) -> None:
    page = read(make(tmp_path))
    assert (
        "Test ELBO −261.3 nats per image (± 0.41, 10,000 images): distortion 255.0 + rate 6.3." in page.text
    )
    for said in (
        "garments-vae-1",
        "recipe vae",
        "2026-01-02",
        "1 × 28 × 20",
        "1,335,602",
        "2 min 19 s",
        "24,000 items/s",
    ):
        assert said in page.text
    for said in ("−260.75", "0.02610", "validation 600 items", "because the images are grey", "2.13.0"):
        assert said in page.text
    assert "latlas sample garments-vae-1" in page.text
    assert "--resume" not in page.text


def test_the_report_refers_to_nothing_outside_itself(tmp_path: Path) -> None:
    run = make(tmp_path)
    html = report.write_report(run).read_text(encoding="utf-8")
    links = [a[key] for _, a in Page(html).tags for key in ("src", "href", "action", "srcset") if key in a]
    assert len(links) == 5
    assert all(str(link).startswith("data:") for link in links)
    assert re.findall(r"https?://|url\(|@import|<script|<iframe", html) == []
    assert str(tmp_path) not in html
    assert [p.name for p in run.iterdir() if p.name.startswith(".")] == []


def test_pictures_come_in_reading_order_with_their_words(tmp_path: Path) -> None:
    page = read(make(tmp_path))
    images = page.all("img")
    assert [i["alt"] for i in images] == [
        f"The {stem} & <more>" for stem in ("reconstructions", "samples", "losses", "extra")
    ]
    assert all(
        str(i["src"]).startswith("data:image/png;base64,") and int(str(i["width"])) > 100 for i in images
    )
    assert 'How to read "samples".' in page.text


def test_of_many_pictures_the_first_in_reading_order_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MOST_PICTURES", 2)
    page = read(make(tmp_path))
    assert [i["alt"] for i in page.all("img")] == ["The reconstructions & <more>", "The samples & <more>"]
    assert "left out: all pictures but 2 of 4" in page.text


def test_everything_is_escaped(tmp_path: Path) -> None:
    nasty = "</pre></style><script>alert('x')</script>&amp;\"{{ 7 * 7 }}"
    words = dict.fromkeys(("data", "network", "recipe", "likelihood"), nasty)
    finding = dict.fromkeys(("title", "evidence", "cause", "remedy"), nasty) | {"level": "notice"}
    number = dict.fromkeys(("title", "unit", "why", "by", "what", "warning"), nasty)
    number |= {"group": "codes", "value": 0.5, "items": 2, "beside": {nasty: 0.25}}
    metrics = METRICS | words | {"unit": f"nats per {nasty}", "numbers": {nasty: number}}
    metrics |= {"findings": [finding | {"commands": [nasty]}]}
    run = make(tmp_path, name="a run & 'more' <b>", metrics=metrics)
    figures.save(figures.image_grid(np.zeros((1, 2, 2, 1)), nasty), run / "figures" / "<i>.png", nasty)
    (run / "run.json").write_text(json.dumps(INFO | {"notes": [nasty], nasty: {nasty: nasty}}))
    (run / "config.toml").write_text(f"# {nasty}\n")
    page = read(run)
    assert page.all("script") == page.all("b") == page.all("i") == []
    assert len(page.all("style")) == 1
    assert page.text.count(nasty) > 20
    assert "49" not in page.text
    assert nasty in [image["alt"] for image in page.all("img")]
    assert "<i>" in [figure["id"] for figure in page.all("figure")]
    assert "latlas sample 'a run & '\"'\"'more'\"'\"' <b>'" in page.text


def test_findings_stand_at_the_top_or_nothing_was_sought(tmp_path: Path) -> None:
    finding = {"level": "worth a look", "title": "A <hole>", "evidence": "e", "cause": "c", "remedy": "r",
               "commands": ["latlas train"]}  # fmt: skip
    found = {}
    for name, metrics in {"some": {"findings": [finding]}, "none": {"findings": []}, "unsought": {}}.items():
        found[name] = read(make(tmp_path, name, METRICS | metrics, pictures=False))
    (card,) = found["some"].all("article")
    assert card["class"] == "finding worth-a-look"
    text = found["some"].text
    assert (
        text.index("Test ELBO")
        < text.index("A <hole>")
        < text.index("latlas train")
        < text.index("The numbers")
    )
    assert "nothing wrong was found" in found["none"].text
    for name in ("none", "unsought"):
        assert "What to look at" not in found[name].text
    assert "Diagnosis" not in found["unsought"].text


def test_numbers_stand_in_groups_with_what_explains_them(tmp_path: Path) -> None:
    number = {"title": "k-NN", "group": "use", "unit": "", "decimals": 3, "why": "Near ones.", "value": 0.7,
              "stderr": 0.0102, "items": 2000, "draws": 5, "beside": {"PCA": 0.65}, "parts": [0.1] * 17,
              "warning": "few draws"}  # fmt: skip
    page = read(make(tmp_path, metrics=METRICS | {"numbers": {"knn": number}}, pictures=False))
    text = " ".join(page.text.split())
    assert "Evaluation Downstream tasks Number Value Baseline k-NN 0.700 ± 0.010 PCA 0.650" in text
    assert "Near ones. Of 2,000 items × 5 draws. Per dimension: 0.10, " in text
    assert text.count("0.10, ") == 16
    assert ", …. knn Few draws. " in text
    assert page.all("table")[1] == {"class": "worth"}


@pytest.mark.parametrize(("normalised", "warned"), [(False, True), (True, False)])
def test_an_unnormalised_likelihood_is_named(tmp_path: Path, normalised: bool, warned: bool) -> None:
    page = read(make(tmp_path, metrics=METRICS | {"normalised": normalised}, pictures=False))
    assert ("the likelihood is not normalised" in page.text) == warned


def test_an_unfinished_run_says_how_far_it_came(tmp_path: Path) -> None:
    run = make(tmp_path, metrics=None, pictures=False)
    page = read(run)
    assert (
        "Unfinished: the log ends at step 1,266, epoch 1.5. Best validation ELBO so far: −300.2." in page.text
    )
    assert "latlas train --resume garments-vae-1" in page.text
    assert "The numbers" not in page.text
    (run / "log.jsonl").write_text("")
    assert "Unfinished: no step is logged yet." in read(run).text


def test_a_point_posterior_has_no_elbo_and_no_prior_to_sample(tmp_path: Path) -> None:
    point = TEST | {"elbo": None, "elbo_stderr": None, "rate": None}
    page = read(make(tmp_path, metrics=METRICS | {"splits": {"test": point}}, pictures=False))
    assert "Test distortion 255.0 nats per image, mean squared error 0.0261 (10,000 images)." in page.text
    assert "Evidence lower bound" not in page.text
    assert "new items from the prior" not in page.text
    assert "--density mixture" in page.text
    assert "latlas encode" in page.text


def test_a_table_speaks_of_rows(tmp_path: Path) -> None:
    run = make(tmp_path, metrics=METRICS | {"unit": "nats per row", "normalised": True}, pictures=False)
    (run / "run.json").write_text(json.dumps(INFO | {"data": INFO["data"] | {"kind": "table", "shape": [4]}}))
    text = read(run).text
    assert "10,000 rows" in text
    assert "in standardised units" in text
    assert "Columns" in text
    assert "Item size" not in text
    assert "--out samples.csv" in text
    assert "image" not in text.replace("because the images are grey", "")


@pytest.mark.parametrize(("images", "rows"), [(2000, (3, 17)), (14, (3, 13)), (3, (2, 2)), (1, (0, 0))])
def test_the_commands_name_items_that_the_split_has(
    tmp_path: Path, images: int, rows: tuple[int, int]
) -> None:
    splits = METRICS["splits"] | {"test": METRICS["splits"]["test"] | {"images": images}}
    text = read(make(tmp_path, metrics=METRICS | {"splits": splits}, pictures=False)).text
    assert f"--from {rows[0]} --to {rows[1]}\n" in text
    assert f"vary garments-vae-1 --row {rows[1]}\n" in text
    assert f"neighbours garments-vae-1 {rows[1]}\n" in text


@pytest.mark.parametrize("missing", ["config.toml", "run.json", "metrics.json", "log.jsonl", "figures"])
def test_any_part_may_be_missing(tmp_path: Path, missing: str) -> None:
    run = make(tmp_path)
    if missing == "figures":
        for path in (run / "figures").iterdir():
            path.unlink()
    else:
        (run / missing).unlink()
    page = read(run)
    assert "garments-vae-1" in page.text


def test_an_empty_folder_and_broken_pictures_still_make_a_page(tmp_path: Path) -> None:
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "run" / "figures" / "samples.png").write_bytes(b"not a picture")
    page = read(tmp_path / "run")
    assert page.all("img") == []
    assert "Unfinished" in page.text


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        report.write_report(tmp_path / "nowhere")


def test_writing_again_gives_the_same_page(tmp_path: Path) -> None:
    run = make(tmp_path)
    first = report.write_report(run).read_bytes()
    assert report.write_report(run).read_bytes() == first


@pytest.mark.browser
def test_the_report_opens_in_a_browser(tmp_path: Path, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    url = report.write_report(make(tmp_path)).as_uri()
    troubles: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (390, "dark")):
            page = browser.new_page(
                viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
            )  # type: ignore[arg-type]
            page.on("console", lambda message: troubles.append(message.text))
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.on(
                "request", lambda r: None if r.url.startswith(("file:", "data:")) else troubles.append(r.url)
            )
            page.goto(url)
            natural = page.evaluate("Array.from(document.images).map(i => i.complete && i.naturalWidth)")
            assert len(natural) == 4
            assert min(natural) > 0
            assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing scrolls sideways"
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", paper))) > 384) == (scheme == "light")
            first = page.locator("figure img").first
            before = first.bounding_box()
            first.click()
            after = first.bounding_box()
            assert before is not None
            assert after is not None
            assert after["width"] == natural[0] >= before["width"]
            page.get_by_text("Configuration").click()
            assert page.get_by_text("seed = 0").is_visible()
        browser.close()
    assert troubles == []
