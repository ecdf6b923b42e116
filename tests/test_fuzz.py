"""The fuzzer finds what is planted, says the same of the same case again, and finds nothing in latlas."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fuzz import containers, damage
from fuzz.data_kinds import same_values
from fuzz.originals import Originals, table

ROOT = Path(__file__).resolve().parents[1]


def started(*words: str, seconds: int = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_a_planted_fault_of_each_kind_is_found() -> None:
    done = started("tests.fuzz.planted")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "fine": "fine", "refused": "refused", "refused by a command": "refused", "exception": "exception",
        "exit": "exception",
        "interrupt": "exception", "unexpected": "exception", "another exit code": "output", "nothing said": "output",
        "several lines": "output", "a long line": "output", "an escape": "output", "warning": "warning",
        "silent": "silent",
        "memory": "memory", "crash": "crash", "abort": "crash", "computing": "slow", "waiting": "slow",
        "script": "script",
        "outside": "outside", "fine after all": "fine",
    }  # fmt: skip


# Its files are made where a test asks for them, not in every process that collects tests.
ORIGINALS = Originals(Path("nowhere"))
BYTES: dict[str, tuple[bytes | tuple[str, str], Callable[[bytes, Random], bytes]]] = {
    "any bytes": (("npy", "grey.npy"), damage.damaged),
    "npy": (("npy", "table.npy"), containers.npy_damaged),
    "npz": (("npz", "pair.npz"), lambda data, rng: containers.npz_damaged(data, rng)[0]),
    "png": (("image", "image.png"), containers.image_damaged),
    "tiff": (("tiff", "deep.tiff"), containers.image_damaged),
    "json": (b'{"a": [1, {"b": "c"}], "d": null}', damage.json_damaged),
    "toml": (b'[a]\nx = 1\ny = "z"\n', damage.toml_damaged),
    "lines": (b'{"a": 1}\n{"a": 2}\n', damage.lines_damaged),
}


@pytest.mark.parametrize("name", BYTES)
def test_a_case_follows_from_its_number_and_most_cases_differ(name: str) -> None:
    original, change = BYTES[name]
    data = original if isinstance(original, bytes) else ORIGINALS.files[original[0]][original[1]]
    made = [change(data, Random(f"0/{name}/{number}")) for number in range(60)]
    assert made == [change(data, Random(f"0/{name}/{number}")) for number in range(60)]
    assert len(set(made)) > 30
    assert sum(other != data for other in made) > 45


def test_tensors_are_damaged_in_every_way() -> None:
    from safetensors.torch import save
    from torch import zeros

    data = save({"a": zeros(2, 3), "b": zeros(4)}, {"progress": "{}"})
    made = [containers.safetensors_damaged(data, Random(number)) for number in range(200)]
    assert made == [containers.safetensors_damaged(data, Random(number)) for number in range(200)]
    assert len(set(made)) > 120


def test_a_bomb_is_a_whole_file_that_unpacks_to_what_it_says() -> None:
    bomb = containers.zip_bomb("x", 2**27)
    assert len(bomb) < 2**19
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        assert archive.testzip() is None
    assert np.load(io.BytesIO(bomb))["x"].nbytes == 2**27


def test_other_values_are_seen_and_other_axes_are_not() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert same_values(x[..., None], x) == same_values(x.transpose(0, 2, 1), x) == ""
    assert same_values(x, [table(), x]) == ""
    wrong = x.copy()
    wrong[1, 2, 3] ^= 1
    assert "other values" in same_values(wrong, x)
    assert "other values" in same_values(x[:1], x)
    assert "ValueError" in same_values(x, ValueError("damaged"))


def test_tensors_that_are_changed_on_purpose_have_the_checksum_of_their_bytes() -> None:
    from torch import zeros

    from latlas.errors import InputError
    from latlas.weights import tensors_in, to_bytes

    data, messages = to_bytes({"a": zeros(2, 3), "b": zeros(4)}, {"progress": "{}"}), []
    assert containers.resealed(data) == data
    for number in range(100):
        try:
            tensors_in(containers.resealed(containers.safetensors_damaged(data, Random(number))), Path("x"))
            messages.append("")
        except InputError as error:
            messages.append(str(error))
    assert messages.count("") > 20
    assert sum(message != "" and "checksum" not in message for message in messages) > 20


@pytest.mark.slow
def test_no_cases_are_no_good_news() -> None:
    done = started("tests.fuzz", "--hostile", "--only", "no such case")
    assert (done.returncode, "no case is so called" in done.stderr) == (2, True)


@pytest.mark.slow
def test_cases_of_every_kind_find_nothing(tmp_path: Path) -> None:
    done = started(
        "tests.fuzz", "--cases", "300", "--seed", "1", "--folder", str(tmp_path / "failed"), seconds=900
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_hostile_folders_read_and_change_nothing_outside(tmp_path: Path) -> None:
    done = started(
        "tests.fuzz", "--hostile", "--every", "50", "--folder", str(tmp_path / "failed"), seconds=1700
    )
    assert done.returncode == 0, done.stdout


def test_a_few_hostile_folders(tmp_path: Path) -> None:
    done = started("tests.fuzz", "--hostile", "--few", "--folder", str(tmp_path / "failed"), seconds=300)
    assert done.returncode == 0, done.stdout
