"""Downloads against a local server that fails and lies: the right bytes, or nothing and a clear line."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from test_data_idx import idx_bytes

from latlas.data import DataOptions, catalogue, fetch, load, source_info
from latlas.errors import InputError, LatlasError

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def good(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def failing(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_error(500)


def missing(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_error(404)


def lying(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    good(handler, b"<html>please log in</html>")


def flipping(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    good(handler, data[:-1] + bytes([data[-1] ^ 1]))


def cutting(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def cutting_silently(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


ANSWERS: dict[str, Answer] = {
    a.__name__: a for a in (good, failing, missing, lying, flipping, cutting, cutting_silently)
}
BAD = [name for name in ANSWERS if name != "good"]


class Server:
    """Serves `files` under /<answer>/<file>, and remembers what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, answer, name = self.path.split("/")
                outer.asked.append(f"{answer}/{name}")
                ANSWERS[answer](self, outer.files[name])

            def log_message(self, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def at(self, *answers: str) -> list[str]:
        return [f"http://127.0.0.1:{self.server.server_address[1]}/{a}/" for a in answers]

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a small `mnist` of 20 + 10 images, whose sums the catalogue names."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        server.files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx_bytes(images))
        server.files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(
            idx_bytes((np.arange(count) % 10).astype(np.uint8))
        )
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in server.files.items()}
    small = catalogue.NAMED["mnist"].model_copy(
        update={"items": (20, 0, 10), "files": sums, "mirrors": tuple(server.at("good"))}
    )
    monkeypatch.setitem(catalogue.NAMED, "mnist", small)
    yield server
    server.stop()


def left(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_set_is_fetched_once_and_loads(tmp_path: Path, server: Server) -> None:
    assert not source_info("mnist", str(tmp_path))["present"]
    told: list[tuple[str, int, int]] = []
    folder = fetch("mnist", str(tmp_path), lambda *step: told.append(step))
    assert folder == tmp_path / "MNIST" / "raw"
    assert left(folder) == sorted(server.files)
    assert len(server.asked) == 4
    name = "train-images-idx3-ubyte.gz"
    size = len(server.files[name])
    assert (f"downloading {name}", size, size) in told
    assert source_info("mnist", str(tmp_path))["present"]
    assert fetch("mnist", str(tmp_path)) == folder
    assert len(server.asked) == 4
    dataset = load(DataOptions(source="mnist", data_dir=str(tmp_path)))
    assert (len(dataset.train) + len(dataset.valid), len(dataset.test)) == (20, 10)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_mirror_leaves_nothing_and_says_why(tmp_path: Path, server: Server, bad: str) -> None:
    with pytest.raises(LatlasError) as caught:
        fetch("mnist", str(tmp_path), urls=[*server.at(bad), "http://127.0.0.1:9/"])
    assert not isinstance(caught.value, InputError)
    line = str(caught.value)
    assert "\n" not in line
    url = server.at(bad)[0]
    name = "train-images-idx3-ubyte.gz"
    assert line.startswith(f"{name} could not be downloaded: {url}{name}: ")
    assert f"http://127.0.0.1:9/{name}: connection refused" in line
    reasons = {"failing": "HTTP 500", "missing": "HTTP 404", "cutting": "the connection broke off"}
    assert reasons.get(bad, "the SHA-256 of what came is not the published one") in line
    assert left(tmp_path) == []
    assert list((tmp_path / "MNIST" / "raw").iterdir()) == []


@pytest.mark.parametrize("bad", BAD)
def test_the_next_mirror_is_tried(tmp_path: Path, server: Server, bad: str) -> None:
    folder = fetch("mnist", str(tmp_path), urls=server.at(bad, "good"))
    assert {n: (folder / n).read_bytes() for n in left(folder)} == server.files


def test_files_there_are_kept_and_others_not_touched(tmp_path: Path, server: Server) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    names = list(server.files)
    (folder / names[0]).write_bytes(server.files[names[0]])
    fetch("mnist", str(tmp_path))
    assert server.asked == [f"good/{n}" for n in names[1:]]
    (folder / names[1]).write_bytes(b"mine")
    (folder / names[2]).unlink()
    with pytest.raises(InputError, match="another file than the published one"):
        fetch("mnist", str(tmp_path))
    assert (folder / names[1]).read_bytes() == b"mine"


def test_an_interrupt_leaves_nothing_half(tmp_path: Path, server: Server) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if "t10k-images" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("mnist", str(tmp_path), stop)
    folder = tmp_path / "MNIST" / "raw"
    whole = [n for n in server.files if n.startswith("train")]
    assert left(folder) == sorted(whole)
    assert all((folder / n).read_bytes() == server.files[n] for n in whole)
    fetch("mnist", str(tmp_path))
    assert left(folder) == sorted(server.files)


def test_a_place_that_cannot_be_written(tmp_path: Path, server: Server) -> None:
    (tmp_path / "MNIST").write_text("a file")
    with pytest.raises(LatlasError, match=r"MNIST.raw: cannot be written \((Not a directory|File exists)"):
        fetch("mnist", str(tmp_path))


def test_a_full_disk_stops_at_once(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(what: str, done: int, total: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(LatlasError, match=r"cannot be written \(No space left on device\)"):
        fetch("mnist", str(tmp_path), full, urls=server.at("good", "good"))
    assert len(server.asked) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", ["fashion-mini", "digits", "shapes"])
def test_sets_that_come_with_latlas(name: str) -> None:
    with pytest.raises(InputError, match="nothing to fetch"):
        fetch(name)


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match="did you mean 'mnist'"):
        fetch("minst")


def flower_archive(count: int, extra: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        files = dict(extra)
        for i in range(1, count + 1):
            image = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (90, 70 + i, 3)).astype(np.uint8)).save(image, "jpeg")
            files[f"jpg/image_{i:05d}.jpg"] = image.getvalue()
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def flowers(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bytes], None]:
    """Sets the archive that a small `flowers102` of 3 + 2 + 4 images is served as."""

    def serve(archive: bytes) -> None:
        for name, table in (
            ("setid.mat", {"trnid": [[2, 4, 9]], "valid": [[1, 3]], "tstid": [[5, 6, 7, 8]]}),
            ("imagelabels.mat", {"labels": np.array([[1, 2, 3, 4, 5, 6, 7, 8, 102]], np.uint8)}),
        ):
            buffer = io.BytesIO()
            savemat(buffer, {k: np.asarray(v, np.uint8) for k, v in table.items()})
            server.files[name] = buffer.getvalue()
        server.files["102flowers.tgz"] = archive
        names = ("102flowers.tgz", "setid.mat", "imagelabels.mat")
        sums = {n: hashlib.sha256(server.files[n]).hexdigest() for n in names}
        entry = catalogue.NAMED["flowers102"].model_copy(
            update={"items": (3, 2, 4), "files": sums, "mirrors": tuple(server.at("good"))}
        )
        monkeypatch.setitem(catalogue.NAMED, "flowers102", entry)
        monkeypatch.setenv("LATLAS_CACHE", str(tmp_path / "cache"))

    return serve


def test_flowers_are_unpacked_safely_and_split(tmp_path: Path, flowers: Callable[[bytes], None]) -> None:
    flowers(
        flower_archive(
            9, {"../evil.txt": b"!", "/tmp/evil.txt": b"!", "jpg/../x.jpg": b"!", "jpg/a.sh": b"!"}
        )
    )
    folder = fetch("flowers102", str(tmp_path / "data"))
    expected = [f"jpg/image_{i:05d}.jpg" for i in range(1, 10)] + ["setid.mat", "imagelabels.mat"]
    assert left(tmp_path / "data") == sorted(f"flowers-102/{n}" for n in expected)
    dataset = load(DataOptions(source="flowers102", data_dir=str(tmp_path / "data")))
    assert dataset.shape == (3, 64, 64)
    assert dataset.train.index.tolist() == [1, 3, 8]
    assert dataset.valid.index.tolist() == [0, 2]
    assert dataset.test.index.tolist() == [4, 5, 6, 7]
    assert dataset.train.labels is not None
    assert dataset.train.labels.tolist() == [1, 3, 101]
    assert dataset.classes is not None
    names = ["hard-leaved pocket orchid", "sweet pea", "blackberry lily"]
    assert [dataset.classes[c] for c in dataset.train.labels] == names
    assert folder == tmp_path / "data" / "flowers-102"
    (folder / "jpg" / "image_00003.jpg").unlink()
    with pytest.raises(InputError, match=r"8 of 9 images .*latlas data fetch flowers102"):
        load(DataOptions(source="flowers102", data_dir=str(tmp_path / "data")))
    with pytest.raises(InputError, match="holds a part of the images; move it away"):
        fetch("flowers102", str(tmp_path / "data"))


def test_flowers_with_another_table_or_a_broken_image(
    tmp_path: Path, flowers: Callable[[bytes], None]
) -> None:
    flowers(flower_archive(9, {}))
    folder = fetch("flowers102", str(tmp_path / "data"))
    options = DataOptions(source="flowers102", data_dir=str(tmp_path / "data"))
    image = folder / "jpg" / "image_00003.jpg"
    data = image.read_bytes()
    image.write_bytes(data[:200])
    with pytest.raises(InputError, match=r"1 broken file: jpg/image_00003.jpg"):
        load(options)
    image.write_bytes(data)
    (folder / "setid.mat").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"setid.mat: not the published file"):
        load(options)


@pytest.mark.parametrize("archive", [b"no archive at all", None, "cut"])
def test_a_damaged_archive_leaves_nothing(
    tmp_path: Path, flowers: Callable[[bytes], None], archive: bytes | str | None
) -> None:
    full = flower_archive(9, {})
    flowers(flower_archive(8, {}) if archive is None else full[:900] if archive == "cut" else archive)  # type: ignore[arg-type]
    with pytest.raises(LatlasError, match=r"102flowers.tgz: (damaged|holds 8 images, expected 9)"):
        fetch("flowers102", str(tmp_path / "data"))
    assert left(tmp_path / "data") == []
    assert os.listdir(tmp_path / "data" / "flowers-102") == []  # noqa: PTH208
