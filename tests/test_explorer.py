"""The explorer of real runs: its data against the model, one file in a browser without network, and the live page."""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import latlas
from latlas import cli, snapshots
from latlas.api import exploring
from latlas.console import Console
from latlas.errors import InputError
from latlas.explorer import onefile, server
from latlas.explorer.blocks import Addressed, Inlined
from latlas.explorer.fields import level_of
from latlas.explorer.maps import Map, maps_of
from latlas.explorer.run_data import run_data
from latlas.explorer.subject import Subject
from latlas.runs import Run, dataset_of

HOSTILE = "<b onmouseover=x>bold"
BYTE = 1 / 255
SMALL = {"network.hidden": [48], "pictures.draw": False}
TYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint8": "u1"}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two dimensions on a folder of images, of which a class is named as markup."""
    folder = tmp_path_factory.mktemp("two")
    draw = np.random.default_rng(0)
    for i in range(150):
        down, across = np.mgrid[:8, :8] / 8
        picture = (down if i % 2 else across) * draw.uniform(0.4, 1)
        place = folder / "photos" / (HOSTILE if i % 2 else "plain")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * picture).astype(np.uint8)).save(place / f"{i}.png")
    source, out = str(folder / "photos"), folder / "run"
    settings = {
        **SMALL,
        "network.name": "mlp",
        "training.snapshot_every": 20,
        "training.snapshot_weights": True,
    }
    return latlas.train(source, latent=2, steps=60, out=out, settings=settings, quiet=True)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of four dimensions on digits."""
    out = tmp_path_factory.mktemp("four") / "run"
    return latlas.train("digits", latent=4, steps=150, out=out, settings=SMALL, quiet=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a table with offsets that are large beside the spread, and a column named as markup."""
    folder = tmp_path_factory.mktemp("table")
    values = np.random.default_rng(0).normal(size=(120, 3)) * [1, 5, 0.1] + [1000, 0, -3]
    rows = "\n".join(",".join(map(repr, row)) for row in values.tolist())
    (folder / "t.csv").write_text(f"height,{HOSTILE},x\n{rows}\n")
    source, out = str(folder / "t.csv"), folder / "run"
    return latlas.train(source, latent=2, steps=40, out=out, settings=SMALL, quiet=True)


@pytest.fixture(scope="module")
def maps(four: Run) -> list[Map]:
    return maps_of(subject_of(four))


def subject_of(run: Run, rows: Any = None) -> Subject:
    opened, context = exploring.opened_of(run, None, {}, Console(True))[0]
    return Subject(opened, context, np.arange(len(context.test)) if rows is None else rows)


def array(store: Addressed, block: dict[str, Any]) -> np.ndarray:
    content = store.contents[block["url"].removeprefix("blocks/")]
    return np.frombuffer(content, TYPES[block["type"]]).reshape(block["shape"])


def test_the_data_are_those_of_the_run(two: Run) -> None:
    store, subject = Addressed(), subject_of(two)
    data = run_data(subject, store, "run0")
    test, items = dataset_of(two).test, data["items"]
    model = two.model()
    assert items["n"] == len(test)
    assert data["shape"] == [8, 8, 1]
    assert sorted(data["classes"]) == sorted([HOSTILE, "plain"])
    assert items["names"] == test.names.tolist()
    np.testing.assert_array_equal(array(store, items["labels"]), test.labels)
    np.testing.assert_array_equal(array(store, items["rows"]), test.index)
    np.testing.assert_allclose(array(store, items["codes"]), model.encode(test), atol=1e-6)
    elbo, rate = (array(store, items[name]) for name in ("elbo", "rate"))
    assert elbo.mean() == pytest.approx(two.metrics["splits"]["test"]["elbo"], rel=1e-5)
    np.testing.assert_allclose(array(store, items["kl"]).astype(float).sum(1), rate, rtol=3e-3)
    pixels = subject.values(test)
    found = np.square(subject.decode(model.encode(test)) - pixels).mean((1, 2, 3))
    np.testing.assert_allclose(array(store, items["squared_error"]), found, rtol=1e-3)
    json.dumps(data, allow_nan=False)  # plain values throughout


def test_findings_point_at_what_they_say_they_are_about(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"title": "t", "evidence": "e", "cause": "c", "remedy": "r", "level": "notice"}
    findings = [
        {**said, "name": "a", "about": "dimensions", "dimensions": [1]},
        {**said, "name": "b", "about": "places", "dimensions": []},
        {**said, "name": "prior-collapse-holes", "about": None, "dimensions": []},  # a name says nothing
        {**said, "name": "prior-mismatch"},  # of a file from before `about`
    ]
    measured = two.metrics | {"findings": findings}
    monkeypatch.setattr(Run, "metrics", property(lambda run: measured))
    rows = run_data(subject_of(two), Addressed(), "run0")["findings"]
    assert [("dimensions" in row, "regions" in row) for row in rows] == [
        (True, False), (False, True), (False, False), (False, True),
    ]  # fmt: skip
    assert rows[0]["dimensions"] == [1]


def test_snapshots_move_to_where_the_points_are(two: Run) -> None:
    store, subject = Addressed(), subject_of(two)
    kept = run_data(subject, store, "run0")["projections"][0]["snapshots"]
    places, stored = array(store, kept["places"]), dict(two.snapshots("codes"))
    assert kept["steps"] == [0, 20, 40, 60]
    assert "items" not in kept  # all
    assert places.shape == (4, len(dataset_of(two).test), 2)
    for step, found in zip(kept["steps"], places, strict=True):
        np.testing.assert_allclose(found, stored[step], rtol=2e-3, atol=2e-3)


def test_planes_of_earlier_steps_are_decoded_with_the_weights_of_then(two: Run) -> None:
    store, subject = Addressed(), subject_of(two)
    (projection,) = run_data(subject, store, "run0")["projections"]
    kept = projection["snapshots"]
    planes = []
    for step, plane in zip(kept["steps"], kept["backgrounds"], strict=True):
        assert plane["box"] == projection["background"]["box"]
        content = store.contents[plane["atlas"]["image"]["url"].removeprefix("blocks/")]
        picture = np.asarray(Image.open(io.BytesIO(content)).convert("L"), np.float64) / 255
        (x0, y0, x1, y1), columns, rows = plane["box"], plane["columns"], plane["rows"]
        x = x0 + (x1 - x0) * (np.arange(columns) + 0.5) / columns
        y = y0 + (y1 - y0) * (np.arange(rows) + 0.5) / rows
        codes = np.stack([each.ravel() for each in np.meshgrid(x, y)], 1).astype(np.float32)
        made = snapshots.model_at(two, step).decode(codes, "model").reshape(rows, columns, 8, 8)
        exact = made.transpose(0, 2, 1, 3).reshape(8 * rows, 8 * columns).clip(0, 1)
        assert np.abs(picture - exact).mean() < 0.02  # WebP loses a little
        planes.append(exact)
    assert np.abs(planes[0] - planes[-1]).mean() > 0.05


def copy_of(run: Run, folder: Path, *gone: str) -> Run:
    shutil.copytree(run.path, folder)
    for pattern in gone:
        for path in (folder / "snapshots").glob(pattern):
            path.unlink()
    return Run(folder)


def test_without_weights_it_is_said_what_keeps_them(two: Run, four: Run, tmp_path: Path) -> None:
    near, pca, axes = (
        each["snapshots"] for each in run_data(subject_of(four), Addressed(), "run0")["projections"]
    )
    for each in (near, pca, axes):
        assert "training.snapshot_weights=true keeps them" in each["lacks"]
        assert "backgrounds" not in each
    assert "nearest anchors" in near["note"]
    assert "note" not in pca
    pruned = copy_of(two, tmp_path / "pruned", "*.safetensors")
    store, subject = Addressed(), subject_of(pruned)
    kept = run_data(subject, store, "run0")["projections"][0]["snapshots"]
    assert kept["lacks"].endswith("no longer in the run's folder.")
    one = copy_of(two, tmp_path / "one", "00000020.safetensors")
    kept = run_data(subject_of(one), Addressed(), "run0")["projections"][0]["snapshots"]
    assert [plane is None for plane in kept["backgrounds"]] == [False, True, False, False]
    # Weights alone are enough: codes are made again.
    bare = copy_of(two, tmp_path / "bare", "*.npz")
    store = Addressed()
    kept = run_data(subject_of(bare), store, "run0")["projections"][0]["snapshots"]
    last = dict(two.snapshots("codes"))[60]
    np.testing.assert_allclose(array(store, kept["places"])[-1], last, rtol=2e-3, atol=2e-3)
    kept = run_data(subject_of(two), Addressed(), "run0", 100.0)["projections"][0]["snapshots"]
    assert "no room in this file" in kept["lacks"]


def test_codes_of_earlier_steps_lie_where_the_maps_put_them(four: Run, maps: list[Map]) -> None:
    store, subject = Addressed(), subject_of(four)
    stored = four.snapshots("codes")
    for one, data in zip(maps, run_data(subject, store, "run0")["projections"], strict=True):
        kept = data["snapshots"]
        places = array(store, kept["places"])
        for (step, codes), at, found in zip(stored, kept["steps"], places, strict=True):
            assert step == at
            np.testing.assert_allclose(found, one.place(codes), rtol=2e-3, atol=2e-2)


def test_maps_and_their_inverses(four: Run, maps: list[Map]) -> None:
    subject = subject_of(four)
    near, pca, axes = maps
    assert [one.kind for one in (near, pca, axes)] == ["neighbours", "pca", "axes"]
    codes, places = near.anchors
    np.testing.assert_allclose(near.place(codes), places, atol=1e-3)
    np.testing.assert_allclose(near.code_at(places), codes, atol=1e-3)
    for one in (near, pca, axes):
        assert 0 < one.about["trustworthiness"] <= 1
        costs = one.about["round_trip"]
        assert costs["plain"] <= costs["error"]
        assert 0 <= costs["class_agreement"] <= 1
    assert near.about["trustworthiness"] > pca.about["trustworthiness"]
    plane = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    for one in (pca, axes):
        np.testing.assert_allclose(one.place(one.code_at(plane)), plane, atol=1e-5)
    assert not set(near.held_out) & {int(np.abs(subject.codes - c).sum(1).argmin()) for c in codes[:20]}


def test_doubt_lies_where_no_data_are(two: Run) -> None:
    from latlas.explorer.fields import Fields

    subject = subject_of(two)
    fields = Fields(subject, maps_of(subject)[0])
    grid, doubt = fields.grid, fields.doubt.ravel()
    assert doubt.min() >= 0
    assert doubt.max() <= 1
    apart = np.linalg.norm(grid.centres[:, None] - subject.sample, axis=-1).min(1)
    assert doubt[np.argsort(apart)[:30]].mean() < 0.3
    assert doubt[np.argsort(apart)[-30:]].mean() > 0.9
    prior = np.exp(-0.5 * np.square(grid.centres).sum(1))
    np.testing.assert_allclose(fields.prior.ravel() / fields.prior.sum(), prior / prior.sum(), rtol=1e-4)
    level = level_of(fields.prior, 0.5)
    assert fields.prior[fields.prior >= level].sum() / fields.prior.sum() == pytest.approx(0.5, abs=0.02)
    for region in fields.regions():
        at = np.hypot(*(grid.centres - [region["x"], region["y"]]).T).argmin()
        assert prior[at] > 0.01


def test_a_table_keeps_its_units(table: Run) -> None:
    store, subject = Addressed(), subject_of(table)
    data = run_data(subject, store, "run0")
    train = np.asarray(dataset_of(table).train.x, float)
    assert (data["kind"], data["shape"], data["classes"]) == ("table", [3], [])
    assert [c["name"] for c in data["columns"]] == ["height", HOSTILE, "x"]
    np.testing.assert_allclose([c["least"] for c in data["columns"]], train.min(0))
    made = subject.decode(subject.codes)
    np.testing.assert_allclose(made, table.model().decode(subject.codes), rtol=1e-6)
    np.testing.assert_allclose(subject.encode(subject.values(subject.items))[0], subject.codes, atol=1e-3)


def test_what_a_decoder_without_bounds_makes_is_encoded_again(tmp_path: Path) -> None:
    run = latlas.train("digits", recipe="pca", latent=2, out=tmp_path / "pca", settings=SMALL, quiet=True)
    subject = subject_of(run)
    far = np.array([[-9.0, 9.0], [8.0, 3.0]], np.float32)
    made = subject.decode(far)
    assert made.min() < -0.1  # no image, and yet a linear model comes back to its code
    np.testing.assert_allclose(subject.encode(made)[0], far, atol=1e-3)
    assert "prior" not in run_data(subject, Addressed(), "run0")["projections"][0]


def test_a_notebook_shows_the_file(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploring, "in_notebook", lambda: True)
    monkeypatch.setattr(onefile, "_networks", lambda run, context, notes: ({}, {}))
    shown = two.explore(quiet=True)
    frame = shown._repr_html_()
    assert 'sandbox="allow-scripts allow-downloads"' in frame
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == shown.page


def test_one_dimension_lies_across(tmp_path: Path) -> None:
    run = latlas.train("digits", latent=1, steps=5, out=tmp_path / "one", settings=SMALL, quiet=True)
    store, subject = Addressed(), subject_of(run, np.arange(40))
    (one,) = run_data(subject, store, "run0")["projections"]
    places = array(store, one["places"])
    np.testing.assert_allclose(places[:, 0], subject.codes[:, 0], atol=1e-6)
    assert one["components"] == [[1.0], [0.0]]


def test_the_same_run_gives_the_same_data(four: Run) -> None:
    found = []
    for _ in range(2):
        store = Inlined()
        subject = subject_of(four, np.arange(60))
        found.append((json.dumps(run_data(subject, store, "a")), store.elements))
    assert found[0] == found[1]


def test_what_is_too_large_for_a_file_is_said(two: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = exploring.opened_of(two, None, {}, Console(True))
    heavy = {"encoder": b"", "decoder": os.urandom(600_000)}
    monkeypatch.setattr(onefile, "_networks", lambda run, context, notes: (dict(heavy), {}))
    monkeypatch.setattr(onefile, "LARGEST", 800_000)
    monkeypatch.setattr(onefile, "SECOND", 500_000)
    assert len(onefile.one_file([*opened, *opened], opened[0][1].observer).text) <= 1_300_000
    page = onefile.one_file(opened, opened[0][1].observer)
    assert len(page.text) <= 800_000
    assert len(page.notes) == 1
    assert "too large" in page.notes[0]
    assert "decoder" not in data_in(page.text)["runs"][0]
    assert "runtime" not in data_in(page.text)
    room = (onefile.MAPS + 10_000) / (1 - onefile.EARLIER)
    whole, thumbnails = onefile._chosen(*opened[0], room, notes := [])
    assert (len(whole.rows), notes) == (len(opened[0][1].test), [])
    assert thumbnails is not None
    monkeypatch.setattr(onefile, "LEAST_ITEMS", 4)
    few, thumbnails = onefile._chosen(*opened[0], onefile.MAPS + 800, notes := [])
    assert len(few.rows) < len(whole.rows)
    assert "items are in the file" in notes[0]


def test_without_the_extra_the_page_says_what_is_missing(
    two: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = onefile.importlib.util.find_spec
    monkeypatch.setattr(
        onefile.importlib.util, "find_spec", lambda name: None if name == "onnx" else real(name)
    )
    exported = latlas.export(two, html=tmp_path / "map.html", quiet=True)
    assert any("latlas[onnx]" in line for line in exported.left_out)
    assert "runtime" not in data_in((tmp_path / "map.html").read_text("utf-8"))


# One file ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(two: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("file") / "map.html"
    return path, latlas.export(two, html=path, quiet=True)


def data_in(text: str) -> dict[str, Any]:
    """The data of a page."""
    return json.loads(re.search(r'id="latlas-data">(.*?)</script>', text, re.S)[1])


def test_the_file_needs_nothing_from_outside(exported: tuple[Path, Any], two: Run) -> None:
    path, result = exported
    text = path.read_text("utf-8")
    assert result.html.path == path
    assert result.left_out == ()
    assert 0 < max(result.html.differences.values()) < BYTE / 2
    assert len(text) < 12_000_000
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "unsafe-inline" not in policy
    assert "connect-src" not in policy  # default-src 'none'
    for script in re.findall(r"<script>(.*?)</script>", text, re.S):
        assert onefile.hash_of(script).replace("'", "&#39;") in policy
    assert not re.search(r'(?:src|href)="(?!data:)', text.replace(onefile.bundled("explorer.js"), ""))
    assert HOSTILE not in text  # in JSON, < is written otherwise
    (data,) = data_in(text)["runs"]
    assert HOSTILE in data["classes"]
    block = data["items"]["codes"]
    codes = np.frombuffer(gzip.decompress(base64.b64decode(block["base64"])), "<f4").reshape(block["shape"])
    np.testing.assert_allclose(codes, two.model().encode(dataset_of(two).test), atol=1e-6)


@pytest.mark.slow
def test_two_runs_make_one_file(two: Run, four: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onefile, "_networks", lambda run, context, notes: ({}, {}))
    validated = latlas.train(
        "digits",
        latent=3,
        steps=2,
        out=tmp_path / "run",
        settings={**SMALL, "data.validation": 0.3},
        quiet=True,
    )
    for one, other, same in ((two, four, False), (two, two, True), (four, validated, True)):
        latlas.export(one, other, html=tmp_path / "both.html", quiet=True)
        text = (tmp_path / "both.html").read_text("utf-8")
        data = data_in(text)
        assert [run["latent"] for run in data["runs"]] == [run.config.model.latent for run in (one, other)]
        assert data["same_items"] is same
        elements = re.findall(r'type="text/plain" id="([^"]*)"', text)
        assert len(set(elements)) == len(elements)


def test_wrong_calls_are_refused(two: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="html"):
        latlas.export(two, html=tmp_path / "page.txt")
    with pytest.raises(InputError, match="two runs make one page"):
        latlas.export(two, two, onnx=tmp_path / "onnx")
    with pytest.raises(InputError, match="test items"):
        latlas.export(two.model(), html=tmp_path / "page.html")
    with pytest.raises(InputError, match="65535"):
        latlas.explore(two, port=70_000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot be used"):
            latlas.explore(two, port=taken.getsockname()[1])


def test_the_report_links_to_the_page_in_its_folder(
    two: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onefile, "_networks", lambda run, context, notes: ({}, {}))
    at = two.path / "atlas.html"
    assert cli.run(["export", str(two.path), "--html", str(at), "--quiet"]) == 0
    assert str(at) in capsys.readouterr().out
    assert 'href="atlas.html"' in (two.path / "report.html").read_text("utf-8")


# The live page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(four: Run, table: Run) -> Iterator[tuple[int, str]]:
    """The port and the token of a server."""
    opened = exploring.opened_of(four, table, {}, Console(True))
    own, token = server.bound(0), "secret-of-this-test"
    own.listen()
    made = server.made_server(server.live(opened), own, token)
    thread = threading.Thread(target=lambda: made.run(sockets=[own]), daemon=True)
    thread.start()
    yield own.getsockname()[1], token
    made.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def ask(
    port: int, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body or None, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def test_the_live_page_serves_what_the_model_says(live: tuple[int, str], four: Run, table: Run) -> None:
    port, token = live
    status, text, headers = ask(port, f"/{token}/")
    assert (status, b"data.json" in text) == (200, True)
    assert "unsafe-inline" not in headers["content-security-policy"]
    data = json.loads(ask(port, f"/{token}/data.json")[1])
    assert [run["name"] for run in data["runs"]] == ["run", "run"]
    assert data["token"] == token
    codes = np.array([[0.1, -0.4, 1, 0], [2, 3, 0, -1]], np.float32)
    own = {"X_Latlas_Token": token}
    found = np.frombuffer(ask(port, f"/{token}/decode/0", "POST", codes.tobytes(), **own)[1], "<f4")
    expected = four.model().decode(codes, "model")
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-6)
    status, answer, _ = ask(port, f"/{token}/encode/0", "POST", expected.astype("<f4").tobytes(), **own)
    posterior = four.model().posterior(expected, "model")
    moments = np.concatenate([posterior.mean.detach(), posterior.stddev.detach()], 1)
    np.testing.assert_allclose(np.frombuffer(answer, "<f4").reshape(2, 8), moments, atol=1e-5)
    row = np.frombuffer(ask(port, f"/{token}/values/1/3")[1], "<f4")
    np.testing.assert_allclose(row, dataset_of(table).test.x[3], rtol=1e-6)
    block = data["runs"][0]["items"]["codes"]["url"]
    assert len(ask(port, f"/{token}/{block}")[1]) == 16 * data["runs"][0]["items"]["n"]


def test_attacks_are_refused_and_the_server_lives(live: tuple[int, str]) -> None:
    port, token = live
    own, rows = {"X_Latlas_Token": token}, np.zeros((1, 4), np.float32).tobytes()
    at = f"/{token}/decode/0"
    refused: list[tuple[int, tuple[Any, ...], dict[str, str]]] = [
        (403, ("/",), {}),
        (403, ("/data.json",), {}),
        (403, (f"/{token[:-1]}/data.json",), {}),
        (421, (f"/{token}/",), {"Host": "evil.example"}),
        (421, (f"/{token}/",), {"Host": f"127.0.0.1:{port}.evil.example"}),
        (421, (f"/{token}/",), {"Host": "127.0.0.1"}),
        (403, (f"/{token}/data.json",), {"Origin": "https://evil.example"}),
        (403, (f"/{token}/data.json",), {"Origin": "null"}),
        (403, (f"/{token}/data.json",), {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}),
        (403, (at, "POST", rows), {}),
        (403, (at, "POST", rows), {"X_Latlas_Token": "wrong"}),
        (405, (at,), {}),
        (404, (f"/{token}/server.py",), {}),
        (404, (f"/{token}/..%2fserver.py",), {}),
        (404, (f"/{token}/../../../etc/passwd",), {}),
        (404, (f"/{token}/blocks/..%2f..%2fserver.py",), {}),
        (404, (f"/{token}/values/0/99999999",), {}),
        (404, (f"/{token}/decode/7", "POST", rows), own),
        (400, (at, "POST", b""), own),
        (400, (at, "POST", rows[:-1]), own),
        (400, (at, "POST", np.array([[np.nan, 1, 1, 1]], np.float32).tobytes()), own),
        (413, (at, "POST", bytes(16 * 4097)), own),
        (413, (at, "POST", rows), {**own, "Content_Length": "999999999999"}),
    ]
    for status, arguments, headers in refused:
        found = ask(port, *arguments, **headers)
        assert found[0] == status, (arguments, headers, found)
        assert found[2]["x-content-type-options"] == "nosniff"
    assert ask(port, at, "POST", rows, Origin=f"http://127.0.0.1:{port}", **own)[0] == 200


def test_malformed_and_slow_clients_do_not_stop_it(
    live: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, token = live
    monkeypatch.setattr(server, "PATIENCE", 0.3)
    host = f"Host: 127.0.0.1:{port}\r\nX-Latlas-Token: {token}\r\n"
    sent = {
        b"\x16\x03\x01 what is this\r\n\r\n": b"400",
        f"GET /{token}/ HTTP/1.1\r\n{host}{host}\r\n".encode(): b"400",  # two hosts
        f"POST /{token}/decode/0 HTTP/1.1\r\n{host}Content-Length: 800\r\n\r\nslow".encode(): b"408",
        f"GET /{token}/{'a' * 100_000} HTTP/1.1\r\n{host}\r\n".encode(): b"404",
    }
    with contextlib.ExitStack() as stack:
        for _ in range(30):  # that never say anything
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        for content, status in sent.items():
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            client.sendall(content)
            assert status in client.recv(200).split(b"\r\n")[0], content[:80]
        assert ask(port, f"/{token}/")[0] == 200


def test_ctrl_c_ends_it(
    table: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[int] = []
    spoken, shown = threading.Event(), exploring._starting

    def starting(browser: bool, started: Any) -> Any:
        say = shown(browser, started)

        def start(address: str) -> None:
            say(address)
            port, token = re.match(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/$", address).groups()

            def visit() -> None:
                answers.append(ask(int(port), f"/{token}/explorer.js")[0])
                spoken.set()
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=visit).start()

        return start

    monkeypatch.setattr(exploring, "_starting", starting)
    assert cli.run(["explore", str(table.path), "--no-browser", "--quiet"]) == 0
    assert answers == [200]
    assert capsys.readouterr().out.startswith("explore at http://127.0.0.1:")


# In a browser ---------------------------------------------------------------------------------------------------------


def visited(browser: Any, address: str, offline: bool) -> Any:
    context = browser.new_context(viewport={"width": 1200, "height": 760}, offline=offline)
    tab = context.new_page()
    tab.set_default_timeout(30_000)
    tab.troubles = []
    tab.on("console", lambda message: tab.troubles.append(message.text))
    tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
    tab.goto(address)
    tab.evaluate("latlas.ready")
    return tab


def check_page(tab: Any, *runs: Run) -> None:
    """The page's models are Python's, in both directions, and moving the pointer changes the picture."""
    for at, one in enumerate(runs):
        model, item = one.model(), one.model().item
        code = np.linspace(-1, 0.8, model.latent).astype(np.float32)[None]
        units, scale = ("model", 1.0) if item.kind == "image" else ("data", np.asarray(item.scaling.scale))
        expected = model.decode(code, units)
        flat = expected.ravel()
        found = tab.evaluate(f"c => latlas.runs[{at}].decode(c).then(x => [...x])", code[0].tolist())
        found = np.reshape(found, expected.shape)  # the scale is one for each channel
        assert np.abs((found - expected) / scale).max() < BYTE
        asked = f"x => latlas.runs[{at}].encode(x).then(q => [...q.mean, ...q.std])"
        q = model.posterior(expected, units)
        moments = np.concatenate([q.mean.detach().ravel(), q.stddev.detach().ravel()])
        np.testing.assert_allclose(tab.evaluate(asked, flat.tolist()), moments, atol=BYTE)
    canvas = "document.querySelector('[data-latlas=preview]').toDataURL()"
    box, seen = tab.locator("[data-latlas=map]").first.bounding_box(), set()
    for x, y in ((0.5, 0.5), (0.35, 0.6), (0.6, 0.3)):
        tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        tab.wait_for_timeout(250)
        seen.add(tab.evaluate(canvas))
    assert len(seen) == 3
    assert tab.evaluate("document.querySelectorAll('[onmouseover]').length") == 0
    assert tab.troubles == []


@pytest.mark.browser
def test_the_file_works_offline_without_webgl(browser: Any, exported: tuple[Path, Any], two: Run) -> None:
    tab = visited(browser, exported[0].as_uri(), offline=True)
    check_page(tab, two)
    assert HOSTILE in tab.evaluate("document.body.textContent")


@pytest.mark.slow
@pytest.mark.browser
def test_signals_and_volumes_decode_in_the_file(browser: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    t = np.linspace(0, 1, 24)[:, None]
    arrays = {
        "signals": 5 * np.sin(9 * t * draw.uniform(1, 2, (60, 1, 2))) + [0, 40],
        "volumes": draw.random((60, 1, 1, 1, 1)) * np.ones((60, 6, 5, 4, 1)),
    }
    runs = []
    for name, x in arrays.items():
        np.save(tmp_path / f"{name}.npy", x)
        settings = {"pictures.draw": False, "network.channels": [4, 8]}
        settings |= {"data.layout": "NLC"} if name == "signals" else {}
        runs.append(
            latlas.train(
                tmp_path / f"{name}.npy",
                latent=2,
                steps=4,
                out=tmp_path / name,
                settings=settings,
                quiet=True,
            )
        )
    done = latlas.export(*runs, html=tmp_path / "both.html", quiet=True)
    assert done.left_out == ()
    tab = visited(browser, (tmp_path / "both.html").as_uri(), offline=True)
    check_page(tab, *runs)


@pytest.mark.browser
def test_the_live_page_works_in_a_browser(
    browser: Any, live: tuple[int, str], four: Run, table: Run, maps: list[Map]
) -> None:
    port, token = live
    tab = visited(browser, f"http://127.0.0.1:{port}/{token}/", offline=False)
    check_page(tab, four, table)
    subject, near = subject_of(four), maps[0]
    points = tab.evaluate("(p => ({n: p.n, x: [...p.x], y: [...p.y]}))(latlas.points)")
    np.testing.assert_allclose(np.stack([points["x"], points["y"]], 1), near.places, atol=1e-3)
    code = subject.codes[near.held_out[0]]
    place = tab.evaluate("c => { const p = latlas.place(c); return [p.x, p.y] }", code.tolist())
    np.testing.assert_allclose(place, near.place(code[None])[0], atol=1e-2)
    back = tab.evaluate("([x, y]) => [...latlas.codeAt(x, y)]", place)
    np.testing.assert_allclose(back, near.code_at(np.array([place]))[0], atol=1e-2)
