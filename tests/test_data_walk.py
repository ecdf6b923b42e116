"""What is found below a folder: through links, without loops, and without what is no data."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from latlas.data.walk import is_hidden, walk


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "root" / "a" / "1", tmp_path / "store" / "b" / "2", tmp_path / "store" / "3")
    root = tmp_path / "root"
    (root / "b").symlink_to("../store/b")
    (root / "three").symlink_to(tmp_path / "store" / "3")
    (tmp_path / "link").symlink_to(root)
    for place in (root, tmp_path / "link"):
        found = walk(place)
        assert sorted(found.files) == ["a/1", "b/2", "three"]
        assert not found.again


def test_loops_and_second_ways_are_seen(tmp_path: Path) -> None:
    touch(tmp_path / "z" / "1", tmp_path / "z" / "in" / "2")
    (tmp_path / "z" / "loop").symlink_to("..")
    (tmp_path / "a").symlink_to("z")
    (tmp_path / "b").symlink_to("z/in")
    (tmp_path / "copy").symlink_to("z/1")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone").symlink_to("nothing")
    found = walk(tmp_path)
    assert sorted(found.files) == ["z/1", "z/in/2"]
    assert sorted(found.again) == [("a", "z"), ("b", "z/in"), ("copy", "z/1"), ("z/loop", ".")]
    assert sorted(found.broken_links) == ["gone", "self"]


def test_two_links_to_one_place_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "store" / "1", tmp_path / "root" / "x")
    for name in ("b10", "b2"):
        (tmp_path / "root" / name).symlink_to("../store")
    for name in ("f10", "f2"):
        (tmp_path / "root" / name).symlink_to("../store/1")
    found = walk(tmp_path / "root")
    assert sorted(found.files) == ["b2/1", "x"]
    assert ("b10", "b2") in found.again
    assert ("f2", "b2/1") in found.again


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._a.png", ".ipynb_checkpoints", ".thumbnails", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "Thumbs.db",
     "System Volume Information", "lost+found", "desktop.ini", "#recycle", "@Recycle", "@SynoResource", "~$table.xlsx"],
)  # fmt: skip
def test_hidden_and_system_files_are_no_data(tmp_path: Path, name: str) -> None:
    assert is_hidden(name)
    touch(tmp_path / "a" / "1.png", tmp_path / name / "deep" / "2.png")
    touch(tmp_path / "a" / name)
    found = walk(tmp_path)
    assert found.files == ["a/1.png"]
    assert sorted(found.hidden) == sorted([name, f"a/{name}"])


@pytest.mark.parametrize("name", ["cat", "@home", "#1", "$", "a.DS_Store", "thumbs", "recycle"])
def test_other_names_are_data(name: str) -> None:
    assert not is_hidden(name)


def test_special_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "link.png").symlink_to("pipe.png")
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("plug.png")
    found = walk(tmp_path)
    assert found.files == ["1.png"]
    assert dict(found.special) == {
        "pipe.png": "a pipe", "zero.png": "a device", "link.png": "a pipe", "plug.png": "a socket"
    }  # fmt: skip


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a" / "1", tmp_path / "b" / "2")
    real = os.scandir

    def scandir(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = walk(tmp_path)
    assert (found.files, found.unreadable) == (["a/1"], [("b", "Permission denied")])
