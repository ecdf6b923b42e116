"""What a process writes before it is whole: gone after it, and after the next one where it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latlas import temporaries
from latlas.files import write_atomic, write_json, write_new_folder
from latlas.temporaries import scratch, sweep, temporary, tidy

WRITE = "from pathlib import Path; from latlas.files import write_atomic, write_new_folder\n"
# Kills this process as its second file is about to reach the disk.
KILL = (
    "import os, signal\n"
    "real, left = os.fsync, [1]\n"
    "def stop(handle):\n"
    "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
    "    left[0] -= 1; real(handle)\n"
    "os.fsync = stop\n"
)


def killed(code: str, folder: Path) -> None:
    process = subprocess.run([sys.executable, "-c", WRITE + KILL + code], cwd=folder, check=False)
    assert process.returncode == -9


@pytest.fixture(autouse=True)
def first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process looks once into each folder; here each test is a process."""
    monkeypatch.setattr(temporaries, "_SWEPT", set())


def test_what_a_killed_process_left_is_gone_after_the_next_write(tmp_path: Path) -> None:
    killed("write_atomic(Path('a'), 'whole'); write_atomic(Path('b'), 'half')", tmp_path)
    killed("write_new_folder(Path('folder'), {'a': 'whole', 'b': 'half'})", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2, "the second process removed what the first one left"
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "folder").exists()
    write_json(tmp_path / "c.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {"a", "c.json"}


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from latlas.temporaries import temporary\n"
        "with temporary(Path('.')), temporary(Path('.'), folder=True) as folder:\n"
        "    (folder / 'file').touch(); print('here', flush=True); input()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    there = set(tmp_path.iterdir())
    old = time.time() - 2 * temporaries.SAFE_AGE
    for path in there:
        os.utime(path, (old, old))
    with temporary(tmp_path) as own:
        sweep(tmp_path)
        assert set(tmp_path.iterdir()) == {*there, own}
    process.communicate(b"\n")
    assert list(tmp_path.iterdir()) == []


def test_of_another_machine_age_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(temporaries, "_machine", lambda: "0123abcd")
        (file, one), (folder, other) = (temporaries._made(tmp_path, kind, 0o777) for kind in (False, True))
    for handle in (one, other):
        assert handle is not None
        os.close(handle)  # as its process ended
    (folder / "file").touch()
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {file, folder}
    old = time.time() - 2 * temporaries.SAFE_AGE
    for path in (file, folder):
        os.utime(path, (old, old))
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == {folder}, "a file in it was written a moment ago"
    os.utime(folder / "file", (old, old))
    os.utime(folder, (old, old))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_temporaries_is_removed(tmp_path: Path) -> None:
    with temporary(tmp_path) as path:
        name = path.name
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    for other in (".new-pictures", "a.tmp-1-00000000", f"{name}.png", ".latlas.tmp-notes"):
        (tmp_path / other).touch()
    before = set(tmp_path.rglob("*"))
    tidy(tmp_path)
    assert set(tmp_path.rglob("*")) == before


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / ("é" * 127), "content")
    write_new_folder(tmp_path / ("x" * 255), {"y" * 255: b""})
    assert sorted(len(os.fsencode(path.name)) for path in tmp_path.iterdir()) == [254, 255]


def test_a_scratch_folder_is_ones_own_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch() as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(temporaries.LatlasError, match="let TMPDIR name"), scratch():
        pass
