"""A run folder from anybody is data: what is read back is bounded, checked, and never leads out of the folder."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError
from safetensors.torch import load_file

from latlas import (
    checkpoints,
    formats,
    frames,
    html,
    inference,
    listing,
    optimizers,
    reading,
    report,
    snapshots,
    weights,
)
from latlas.build import build, description
from latlas.checkpoints import BEST, LAST, STOPPED, WEIGHTS, Progress
from latlas.config import override, recipe
from latlas.data.dataset import Scaling
from latlas.data.load import Like
from latlas.data.room import LARGEST_SHARE
from latlas.diagnosis.finding import Finding
from latlas.errors import InputError
from latlas.exports import hub_layout
from latlas.files import write_json
from latlas.limits import LIMITS
from latlas.runs import WRITTEN, Run, described_model, find
from latlas.studies import leases, study_json

OLD = Path(__file__).parent / "fixtures" / "run-of-format-1"
JSON_FILES = ("run.json", "metrics.json", "model.json")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(OLD, tmp_path / "run")))


def everything(run: Run) -> None:
    """Reads all that the folder holds, as the commands do."""
    _ = (run.config, run.info, run.metrics, run.measured, run.log(), run.item, run.progress, run.finished)
    run.model()
    for key in ("codes", "samples", "manifold"):
        run.snapshots(key)
    if found := run.snapshots("codes"):
        snapshots.labels(run, len(found[0][1]))
    snapshots.rows(run)
    report.page(run.path)
    report.one_line(run)


def test_a_run_of_the_first_format_is_read_whole(run: Run) -> None:
    everything(run)
    run.check_writable()


# --- links, pipes and devices ---


def outside(tmp_path: Path, inside: Path) -> Path:
    """What stood there, moved out of the folder, with a link in its place."""
    there = tmp_path / "elsewhere"
    if inside.exists():
        inside.rename(there)
    else:
        there.write_bytes(b"kept")
    inside.symlink_to(there)
    return there


@pytest.mark.parametrize(
    "name",
    ["config.toml", "log.jsonl", "model.safetensors", "snapshots", "snapshots/items.npz", "checkpoints",
     "checkpoints/last.safetensors", *JSON_FILES],
)  # fmt: skip
def test_nothing_is_read_through_a_link_out_of_the_folder(run: Run, tmp_path: Path, name: str) -> None:
    outside(tmp_path, run.path / name)
    with pytest.raises(InputError, match=f"{Path(name).name}.*: leads out of "):
        everything(run)


@pytest.mark.parametrize("name", WRITTEN)
def test_nothing_is_written_through_a_link_out_of_the_folder(run: Run, tmp_path: Path, name: str) -> None:
    there = outside(tmp_path, run.path / name)
    before = there.read_bytes() if there.is_file() else sorted(there.iterdir())
    with pytest.raises(InputError, match=f"{name}: leads out of "), run.held():
        pass
    assert before == (there.read_bytes() if there.is_file() else sorted(there.iterdir()))


def test_a_log_that_is_a_link_to_nothing_makes_no_file_elsewhere(run: Run, tmp_path: Path) -> None:
    (run.path / "log.jsonl").unlink()
    (run.path / "log.jsonl").symlink_to(tmp_path / "made")
    with pytest.raises(InputError, match="leads out of"):
        run.append_log({"kind": "step", "step": 1})
    assert not (tmp_path / "made").exists()


def test_links_inside_a_folder_and_to_a_folder_are_followed(run: Run, tmp_path: Path) -> None:
    (run.path / "model.json").rename(run.path / "described.json")
    (run.path / "model.json").symlink_to("described.json")
    (tmp_path / "latest").symlink_to(run.path)
    everything(find(tmp_path / "latest"))
    find(tmp_path / "latest").check_writable()


@pytest.mark.parametrize("name", ["metrics.json", "log.jsonl", "model.safetensors"])
def test_a_pipe_is_no_file_and_nobody_waits_for_it(run: Run, name: str) -> None:
    (run.path / name).unlink()
    os.mkfifo(run.path / name)
    with pytest.raises(InputError, match=f"{name}: a pipe, and a file is expected"):
        everything(run)


def test_a_pipe_or_a_link_that_leads_nowhere_is_not_written_to(run: Run) -> None:
    os.mkfifo(run.path / "snapshots" / "00000090.npz")
    with pytest.raises(InputError, match="a pipe, where a file belongs"):
        run.check_writable()
    (run.path / "snapshots" / "00000090.npz").unlink()
    (run.path / ".lock").symlink_to(".lock")
    with pytest.raises(InputError, match="a link that leads nowhere"):
        run.check_writable()


def test_figures_that_are_links_are_left_out_of_the_report(run: Run, tmp_path: Path) -> None:
    (run.path / "figures").mkdir()
    (tmp_path / "secret.png").write_bytes(png())
    (run.path / "figures" / "samples.png").symlink_to(tmp_path / "secret.png")
    page = report.page(run.path)
    assert "left out: " in page
    assert "data:image/png" not in page


# --- JSON and TOML ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested more than 32 deep"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested more than 32 deep"),
        ('{"a": 1, "a": 2}', '"a" stands there twice'),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1e999}', "is too large"),
        (f'{{"a": {"1" * 5000}}}', "a number of 5,000 digits"),
        ("[1, 2]", "expected a JSON object, got a list of 2"),
        ("{", "not as JSON is written"),
        ("[" + "[]," * 40 + '"' + '\\"' * 2**19, "Unterminated string"),  # not in the square of its length
        ("{" + "".join(f'"{i}": 0, ' for i in range(2**16)) + '"65535": 1}', '"65535" stands there twice'),
        ("{" + ", ".join(f'"{i}": 0' for i in range(2**17 + 1)) + "}", "an object of 131,073 keys"),
        ("[" + "0," * 2**23 + "0]", "more than 8,388,608 entries"),
        (b"\xff\xfe", "not as JSON is written"),
        ("", "not as JSON is written"),
    ],
)
@pytest.mark.parametrize("name", JSON_FILES)
def test_json_that_is_none_is_refused_in_one_line(run: Run, name: str, text: str | bytes, said: str) -> None:
    (run.path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        everything(run)
    assert str(error.value).startswith(f"{run.path / name}: damaged: ")
    assert said in str(error.value)
    assert len(str(error.value)) < 400


def test_a_table_of_as_many_columns_as_are_read_has_a_description_that_is_read() -> None:
    def written(columns: int) -> str:
        names = [f"chr1:{n}-{n + 500}" for n in range(10**8, 10**8 + columns)]
        numbers = [1e-5 / 3] * columns
        item = {"scaling": {"shift": numbers, "scale": numbers}, "columns": names}
        return json.dumps({"item": item}, indent=2)

    thousand, two = written(1000), written(2000)
    thousands = LIMITS["columns"].most // 1000
    assert thousands * (len(two) - len(thousand)) < reading.MOST[".json"]
    assert thousands * (two.count(",") - thousand.count(",")) < reading.MOST_ENTRIES


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (formats.Metrics, {"findings": [1] * 1000}),
        (formats.Metrics, {"findings": [{}] * 1000}),
        (formats.About, json.loads((OLD / "run.json").read_text()) | {"notes": [1] * 1000}),
        (formats.ScalingOf, {"kind": "none", "shift": ["0"] * 1000, "scale": [1.0]}),
        (formats.ScalingOf, {"kind": "none", "shift": [0.0], "scale": [0.0] * 1000}),
        (study_json.Written, {"runs": [1] * 1000}),
        (study_json.Written, {"cuts": [1] * 1000}),
    ],
)
def test_of_many_faults_few_are_kept(shape: type[BaseModel], value: object) -> None:
    with pytest.raises(ValidationError) as error:
        shape.model_validate(value)
    assert error.value.error_count() < 10


def test_brackets_in_a_text_are_no_depth() -> None:
    assert reading.parsed(json.dumps({"a": "[" * 100 + '\\"' + "{" * 100}), "x")["a"].startswith("[[")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5000, "cannot be read as TOML"),
        (".".join("a" * 10_000) + " = 1", "a key or value of more than 16 levels"),
        ("[" + " . ".join(["a"] * 40) + "]", "a key or value of more than 16 levels"),
        ("#" * 2_000_000, "has 1.0 MB at most"),
        ("a = 1\na = 2", "cannot be read as TOML"),
    ],
)
def test_a_configuration_that_would_take_minutes_is_refused(run: Run, text: str, said: str) -> None:
    (run.path / "config.toml").write_text(text)
    with pytest.raises(InputError, match=rf"config\.toml: .*{said}"):
        _ = run.config


def test_a_large_file_is_not_read(run: Run) -> None:
    with (run.path / "metrics.json").open("wb") as stream:
        stream.truncate(2**40)  # takes no room on the disk
    with pytest.raises(InputError, match=r"metrics\.json: .*GB, and such a file has 134.2 MB at most"):
        _ = run.metrics


@pytest.mark.parametrize("name", [WEIGHTS, LAST])
def test_room_behind_the_tensors_is_not_read(run: Run, name: str) -> None:
    there = (run.path / name).stat().st_size
    os.truncate(run.path / name, 2**40)
    with pytest.raises(InputError, match=f"it has 1,099,511,627,776 bytes, and its tensors end at {there:,}"):
        everything(run)
    if name == LAST:
        (run.path / LAST).unlink()
        everything(run)


def test_the_field_that_is_wrong_is_named(run: Run) -> None:
    values = json.loads((run.path / "metrics.json").read_text())
    values["findings"] = [{"title": "x", "level": '"><script>alert(1)</script>'}]
    (run.path / "metrics.json").write_text(json.dumps(values))
    with pytest.raises(InputError) as error:
        report.page(run.path)
    assert "damaged: findings.0.level is " in str(error.value)
    assert "expected 'serious', 'worth a look' or 'notice'; remove it, and latlas train --resume" in str(
        error.value
    )


@pytest.mark.parametrize("spoil", [lambda test: test.pop("rate"), lambda test: test.update(mse=-1e308)])
def test_numbers_of_a_split_are_whole_and_of_a_size_that_is_drawn(run: Run, spoil: Any) -> None:
    values = json.loads((run.path / "metrics.json").read_text())
    spoil(values["splits"]["test"])
    (run.path / "metrics.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"metrics\.json: damaged: splits\.test"):
        report.fragment(run)


def test_texts_of_numbers_stand_in_frames_whatever_they_hold(run: Run) -> None:
    values = json.loads((run.path / "metrics.json").read_text())
    values["numbers"] = {"au": {"title": "\ud800", "unit": "\x1b[2J", "why": "", "value": 1.0, "items": 3}}
    (run.path / "metrics.json").write_text(json.dumps(values))
    (line,) = (row for row in frames.numbers(run).to_dict("records") if row["name"] == "au")
    assert (line["title"], line["unit"]) == ("\\ud800", "\\x1b[2J")


def test_a_run_without_a_date_is_listed(run: Run) -> None:
    values = json.loads((run.path / "run.json").read_text())
    del values["created"]
    (run.path / "run.json").write_text(json.dumps(values))
    assert [row["created"] for row in listing.list_runs(run.path.parent)] == [""]


def test_what_a_finding_says_is_text(run: Run) -> None:
    values = json.loads((run.path / "metrics.json").read_text())
    evil = "</pre><script>alert(1)</script>"
    finding = dict.fromkeys(("title", "evidence", "cause", "remedy", "name", "command"), evil)
    values["findings"] = [finding | {"level": "notice", "commands": [evil]}]
    values["unit"] = values["data"] = evil
    (run.path / "metrics.json").write_text(json.dumps(values))
    for page in (report.page(run.path), report.fragment(run)):
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


def test_a_row_of_the_log_that_is_wrong_is_named_and_an_incomplete_last_one_left_out(run: Run) -> None:
    path, whole = run.path / "log.jsonl", run.log()
    with path.open("a") as stream:
        stream.write('{"kind": "step", "st')
    assert run.log() == whole
    lines = path.read_text().splitlines()
    for wrong in (
        '{"kind": "step"}',
        '{"kind": "step", "step": "9"}',
        "[1]",
        "rubbish",
        '{"kind": "step", "step": NaN}',
        '{"kind": "step", "step": 9, "loss": -1e308}',
    ):
        path.write_text("\n".join([lines[0], wrong, *lines[1:]]))
        with pytest.raises(InputError, match=r"log\.jsonl: line 2: damaged: .*; remove that line"):
            run.log()
        path.write_text(f"{lines[0]}\n{wrong}\n")  # a killed process does not write the end of a line alone
        with pytest.raises(InputError, match=r"log\.jsonl: line 2: damaged: .*; remove that line"):
            run.log()
    path.write_bytes(lines[0].encode() + b"\n" + b'{"kind": "' + b"a" * 2**21)
    with pytest.raises(InputError, match=r"log\.jsonl: line 2: damaged"):
        run.log()


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of everything in a JSON value."""
    yield place
    for key, part in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from leaves(part, (*place, key))


def replaced(value: Any, place: tuple[Any, ...], by: Any) -> Any:
    if not place:
        return by
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(copy[place[0]], place[1:], by)
    return copy


def removed(value: Any, place: tuple[Any, ...]) -> Any:
    if not place:
        return None
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(place) == 1:
        del copy[place[0]]
    else:
        copy[place[0]] = removed(copy[place[0]], place[1:])
    return copy


WRONG = (None, True, -1, 0, 10**30, 1e300, "", "<b>", [], {}, [None], {"a": None}, [[1]])


def reads_or_says(run: Run, read: Callable[[Run], object]) -> None:
    said = ""
    try:
        read(run)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 1500


@pytest.mark.parametrize("name", JSON_FILES)
def test_any_wrong_value_is_an_error_or_fine(run: Run, name: str) -> None:
    """What every command reads first; what is made of it is below."""
    values = json.loads((run.path / name).read_text())
    read: dict[str, Callable[[Run], object]] = {
        "run.json": lambda run: (run.info, run.measured),
        "metrics.json": lambda run: run.metrics,
        "model.json": lambda run: run.item,
    }
    for at, place in enumerate(list(leaves(values))[:: 5 if name == "metrics.json" else 1]):
        wrong = WRONG[at % len(WRONG)]
        (run.path / name).write_text(json.dumps(replaced(values, place, wrong)))
        reads_or_says(run, read[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*JSON_FILES, "log.jsonl"])
def test_whatever_stands_in_a_file_a_report_is_written_or_refused(run: Run, name: str) -> None:
    lines = name == "log.jsonl"
    text = (run.path / name).read_text()
    values = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    for at, place in enumerate(list(leaves(values))[:: 4 if name == "metrics.json" else 1]):
        two = (WRONG[at % len(WRONG)], WRONG[(at + 5) % len(WRONG)])
        for mutated in (*(replaced(values, place, wrong) for wrong in two), removed(values, place)):
            rows = (
                "\n".join(map(json.dumps, mutated))
                if lines and isinstance(mutated, list)
                else json.dumps(mutated)
            )
            (run.path / name).write_text(rows)
            reads_or_says(run, everything)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.toml", "log.jsonl", "snapshots/items.npz", "snapshots/00000030.npz",
                                  "model.safetensors", "checkpoints/last.safetensors", *JSON_FILES])  # fmt: skip
def test_any_flipped_bytes_are_an_error_or_fine(run: Run, name: str) -> None:
    whole, random = (run.path / name).read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(whole)
        for at in random.integers(0, len(content), random.integers(1, 4)):
            content[at] = random.integers(0, 256)
        cut = int(random.integers(0, len(content))) if random.random() < 0.2 else len(content)
        (run.path / name).write_bytes(content[:cut])
        reads_or_says(run, everything)


# --- arrays ---


def npz(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def bomb(shape: tuple[int, ...] = (2**14, 2**14), dtype: str = "<f4", there: int | None = None) -> bytes:
    """An .npz whose member `codes` unpacks a kilobyte to a gigabyte, or says so, and holds `there` bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    content = io.BytesIO()
    with (
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("codes.npy", "w") as member,
    ):
        member.write(header.getvalue())
        left = int(np.prod(shape)) * 4 if there is None else there
        while left > 0:
            left -= member.write(b"\0" * min(left, 2**20))
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npz(codes=np.zeros((180, 2))[:, :, None]), "expected floats of shape"),
        (npz(codes=np.zeros((180, 2), "c16")), "expected floats"),
        (npz(codes=np.zeros((180, 3), "f4")), r"expected floats of shape \(N, 2\)"),
        (npz(codes=np.array(["a"])), "expected floats"),
        (npz(codes=np.array([{}], dtype=object)), "damaged, or not written by latlas"),
        (npz(codes=np.zeros((3, 2), "f4")), "those of step 0 are "),
        (bomb((10**12, 2), there=100), "says that it has"),
        (bomb((1,) * 70, there=4), "damaged, or not written by latlas"),
        (b"PK\x03\x04", "damaged, or not written by latlas"),
    ],
)
def test_an_array_that_is_none_is_refused_before_it_is_unpacked(run: Run, content: bytes, said: str) -> None:
    (run.path / "snapshots" / "00000030.npz").write_bytes(content)
    with pytest.raises(InputError, match=rf"0030\.npz: .*{said}"):
        run.snapshots("codes")


def test_a_bomb_is_not_unpacked_and_an_array_that_is_not_asked_for_is_left_alone(run: Run) -> None:
    whole = bomb((2**11, 2**12))
    (run.path / "snapshots" / "00000090.npz").write_bytes(whole)
    with pytest.raises(InputError, match=r"codes\.npy would unpack .* kB to 33\.6 MB"):
        run.snapshots("codes")
    assert len(run.snapshots("samples")) == 3


def test_snapshots_without_room_are_not_unpacked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    each = run.snapshots("codes")[0][1].nbytes
    # A share of what is free takes two of the three.
    monkeypatch.setattr("latlas.runs.free_memory", lambda: (2 * each + 1000) / LARGEST_SHARE)
    with pytest.raises(InputError, match=r"00000060\.npz: codes take .* kB, too much for the free memory"):
        run.snapshots("codes")
    monkeypatch.setattr("latlas.snapshots.free_memory", lambda: 1000.0)
    with pytest.raises(InputError, match=r"items\.npz: index take .* kB, too much for the free memory"):
        snapshots.rows(run)


def test_other_names_are_no_snapshots(run: Run) -> None:
    for name in ("²", "1" * 30, "-1", "x"):
        (run.path / "snapshots" / f"{name}.npz").write_bytes(b"rubbish")
    assert [step for step, _ in run.snapshot_files()] == [0, 30, 60]


def test_labels_of_other_classes_are_refused(run: Run) -> None:
    path = run.path / "snapshots" / "items.npz"
    for labels in (np.full(180, 99), np.full(180, -2), np.zeros(179, int)):
        path.write_bytes(npz(index=np.arange(180), labels=labels))
        with pytest.raises(InputError, match=r"items\.npz: damaged"):
            snapshots.labels(run, 180)


def test_codes_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz(z=np.array([[0.0, 1.0], [np.nan, 0.0]])))
    with pytest.raises(InputError, match="the code in row 1 is not finite"):
        inference.read_codes(tmp_path / "x.npz")


def test_codes_are_read_wherever_they_stand_in_the_file(tmp_path: Path) -> None:
    z = np.arange(6.0).reshape(3, 2)
    for name, arrays in (
        ("mean", {"std": 0 * z, "mean": z}),
        ("z", {"images": np.ones((3, 8, 8, 1)), "z": z}),
    ):
        (tmp_path / f"{name}.npz").write_bytes(npz(**arrays))
        np.testing.assert_array_equal(inference.read_codes(tmp_path / f"{name}.npz"), z)
    np.save(tmp_path / "x.npy", z)
    np.testing.assert_array_equal(inference.read_codes(tmp_path / "x.npy"), z)
    (tmp_path / "none.npz").write_bytes(npz())
    with pytest.raises(InputError, match=r"none\.npz: has nothing; expected codes named mean or z"):
        inference.read_codes(tmp_path / "none.npz")
    with pytest.raises(InputError, match="cannot be used as a path"):
        inference.read_codes(Path("a" * 300 + ".npy"))


# --- weights and checkpoints ---


@pytest.fixture
def saved(run: Run) -> Run:
    """A run with checkpoints `last` and `best` after a step, and weights, all with their checksums."""
    model = run.model().train()
    optimizer = optimizers.optimizer_for(run.config, model)
    model.encoder(torch.rand(4, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    for step in (12, 24):
        checkpoints.save(run.path, model, optimizer, Progress(step=step, best_step=12))
    (run.path / "metrics.json").unlink()
    return run


def restored(run: Run) -> Progress:
    model = run.model().train()
    return checkpoints.restore(run.path, model, optimizers.optimizer_for(run.config, model))


def test_weights_with_a_checksum_are_plain_safetensors(saved: Run) -> None:
    content = (saved.path / WEIGHTS).read_bytes()
    tensors, about = weights.tensors_in(content, saved.path / WEIGHTS)
    plain = load_file(saved.path / WEIGHTS)
    assert all(torch.equal(plain[name], tensor) for name, tensor in tensors.items())
    assert about["format"] == "pt"
    assert content == weights.to_bytes(tensors, {"format": "pt"})  # the same bytes each time
    assert "sha256" not in weights.metadata(OLD, WEIGHTS)  # an older file has none


def test_any_flipped_bit_is_noticed(saved: Run) -> None:
    whole = (saved.path / WEIGHTS).read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, 8 * head), *np.random.default_rng(0).integers(8 * head, 8 * len(whole), 500)]
    for at in map(int, places):
        content = bytearray(whole)
        content[at // 8] ^= 1 << at % 8
        with pytest.raises(InputError, match="damaged"):
            weights.tensors_in(bytes(content), Path(WEIGHTS))


def test_a_checksum_at_another_place_is_no_missing_one(saved: Run) -> None:
    whole = (saved.path / WEIGHTS).read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    text = json.dumps(json.loads(whole[8:head])).encode()  # as another program writes it: with spaces
    with pytest.raises(InputError, match="damaged"):
        weights.tensors_in(len(text).to_bytes(8, "little") + text + whole[head:], Path(WEIGHTS))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)


def test_sums_that_are_infinite_do_not_keep_checkpoints_from_being_pruned(saved: Run) -> None:
    model = saved.model().train()
    odd = Progress(step=24, best_step=24, best_score=math.inf, epoch_sums={"loss": math.inf})
    checkpoints.save(saved.path, model, optimizers.optimizer_for(saved.config, model), odd)
    checkpoints.drop(saved.path)
    assert checkpoints.newest(saved.path)[1] == Progress(step=24, best_step=24)


def test_a_damaged_checkpoint_says_what_is_whole_and_that_way_works(saved: Run) -> None:
    flip(saved.path / LAST)
    with pytest.raises(InputError) as error:
        restored(saved)
    assert f"{LAST}: damaged" in str(error.value)
    assert f"{BEST} is whole: remove {LAST}, and latlas train --resume {saved.path} goes on" in str(
        error.value
    )
    assert "at step 12" in str(error.value)
    (saved.path / LAST).unlink()
    assert restored(saved).step == 12


def test_the_way_on_is_a_command_whatever_the_folder_is_called(saved: Run) -> None:
    moved = Run(saved.path.rename(saved.path.parent / "my run"))
    for damaged, command in ((LAST, "train --resume"), (WEIGHTS, "train --resume"), (BEST, "train --resume")):
        assert f"latlas {command} '{moved.path}' " in checkpoints.whole(moved.path, damaged)
    for name in (LAST, BEST):
        flip(moved.path / name)
    assert f"latlas train DATA --from '{moved.path}' starts" in checkpoints.whole(moved.path, LAST)
    flip(moved.path / WEIGHTS)
    assert f"--config '{moved.path / 'config.toml'}'" in checkpoints.whole(moved.path, LAST)


def test_without_a_whole_checkpoint_the_weights_are_named(saved: Run) -> None:
    for name in (LAST, BEST):
        flip(saved.path / name)
    with pytest.raises(
        InputError, match=r"weights in model\.safetensors are whole.*latlas train DATA --from"
    ):
        restored(saved)
    flip(saved.path / WEIGHTS)
    with pytest.raises(
        InputError, match=r"nothing else holds its weights: train it again, by latlas train --config"
    ):
        saved.model()


def test_damaged_weights_are_written_again_from_the_best_checkpoint(saved: Run) -> None:
    before = (saved.path / WEIGHTS).read_bytes()
    flip(saved.path / WEIGHTS)
    with pytest.raises(InputError, match=r"best\.safetensors holds these weights: remove model\.safetensors"):
        saved.model()
    (saved.path / WEIGHTS).unlink()
    checkpoints.restore_weights(saved.path)
    assert (saved.path / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("name", [WEIGHTS, LAST])
def test_a_damaged_header_says_it_too(saved: Run, name: str) -> None:
    content = bytearray((saved.path / name).read_bytes())
    content[12] ^= 255
    (saved.path / name).write_bytes(content)
    said = rf"{Path(name).name}: damaged or not a safetensors file: header: .*best\.safetensors"
    with pytest.raises(InputError, match=said):
        saved.model() if name == WEIGHTS else restored(saved)


def test_a_checkpoint_of_a_stopped_run_gives_way_to_the_last_whole_epoch(saved: Run) -> None:
    shutil.copy(saved.path / LAST, saved.path / STOPPED)
    (saved.path / STOPPED).write_bytes(b"rubbish")
    with pytest.raises(
        InputError, match=r"stopped\.safetensors: damaged.*last\.safetensors is whole: remove"
    ):
        _ = saved.progress


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("optimizer.0.exp_avg", torch.zeros(3)),
        ("optimizer.0.exp_avg", torch.zeros(16, 64, dtype=torch.float64)),
        ("optimizer.1.exp_avg_sq", torch.zeros(())),
        ("optimizer.0.step", torch.zeros(4)),
        ("optimizer.0.step", torch.tensor(float("nan"))),
        ("optimizer.0.more", torch.zeros(())),
        ("optimizer.999.step", torch.zeros(())),
        ("optimizer.x.step", torch.zeros(())),
        ("optimizer.0", torch.zeros(())),
    ],
)
def test_an_optimiser_of_another_shape_never_reaches_fused_adam(
    saved: Run, name: str, tensor: torch.Tensor
) -> None:
    tensors, about = weights.read_tensors(saved.path, LAST)
    content = weights.to_bytes(tensors | {name: tensor}, {"progress": about["progress"]})
    (saved.path / LAST).write_bytes(content)
    with pytest.raises(InputError, match=f'last.safetensors: .*"{name}" is '):
        restored(saved)


def test_a_part_of_the_optimiser_that_is_missing_is_named(saved: Run) -> None:
    tensors, about = weights.read_tensors(saved.path, LAST)
    del tensors["optimizer.0.exp_avg"]
    (saved.path / LAST).write_bytes(weights.to_bytes(tensors, {"progress": about["progress"]}))
    with pytest.raises(InputError, match=r"optimizer\.0\.exp_avg is missing"):
        restored(saved)


@pytest.mark.parametrize("progress", ["", "[]", '{"step": -1}', '{"step": "1"}', '{"steps": 1}', '{"step": 1e3}',
                                      '{"recently_skipped": [null]}', "[" * 9999])  # fmt: skip
def test_progress_that_is_none_is_refused(saved: Run, progress: str) -> None:
    tensors, _ = weights.read_tensors(saved.path, LAST)
    (saved.path / LAST).write_bytes(weights.to_bytes(tensors, {"progress": progress}))
    with pytest.raises(InputError, match="it does not say how far training is"):
        _ = saved.progress


def test_sums_of_an_epoch_may_be_infinite(saved: Run) -> None:
    model = saved.model()
    progress = Progress(step=30, log_sums={"rate": float("inf"), "loss": float("nan")})
    checkpoints.save(saved.path, model, optimizers.optimizer_for(saved.config, model), progress)
    assert saved.progress.log_sums["rate"] == float("inf")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Run, value: float) -> None:
    tensors, _ = weights.read_tensors(saved.path, WEIGHTS)
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], value)
    (saved.path / WEIGHTS).write_bytes(weights.to_bytes(tensors, {"format": "pt"}))
    with pytest.raises(InputError, match=f"damaged: {name} holds numbers that are not finite"):
        saved.model()


def test_weights_that_are_made_infinite_are_those_of_a_mask(saved: Run) -> None:
    model = saved.model()
    mask = torch.full((3, 3), float("-inf")).triu(1)
    model.register_buffer("mask", mask)
    tensors = model.state_dict() | {"mask": mask.clone()}
    weights.load_weights(model, tensors, saved.path / WEIGHTS)
    with pytest.raises(InputError, match="damaged: mask holds numbers that are not finite"):
        weights.load_weights(model, tensors | {"mask": -mask}, saved.path / WEIGHTS)


@pytest.mark.parametrize(
    "make",
    [lambda n: torch.empty(n, n), lambda n: torch.zeros((n, n)), lambda n: torch.full(size=(n, n), fill_value=1.0),
     torch.eye, lambda n: torch.eye(n, n), lambda n: torch.tril_indices(n, n), lambda n: torch.randint(9, (n, n)),
     lambda n: torch.arange(n**2), lambda n: torch.randperm(n**2)],
)  # fmt: skip
def test_an_allowance_counts_what_is_made(make: Callable[[int], torch.Tensor]) -> None:
    with weights.Allowance([], "too large"), torch.device("meta"):
        make(1000)
        with pytest.raises(InputError, match="too large"):
            make(1100)


HUGE: list[tuple[str, Any]] = [
    ("config.model.latent", 10**6),
    ("config.network.hidden", [10**9]),
    ("config.network.hidden", [10**5, 10**5]),
    ("config.network.hidden", [1] * 20_000),
    ("config.posterior", {"name": "flow", "layers": 10**9}),
    ("config.prior", {"name": "mixture", "components": 10**9}),
    ("config.prior", {"name": "vamp", "components": 10**6}),
    ("item.shape", [1, 10**4, 10**4]),
    ("item.shape", [1] * 70),
    ("item.shape", [2**31, 2**31]),
]


@pytest.mark.parametrize(("key", "value"), HUGE, ids=lambda v: str(v)[:30])
def test_a_huge_model_is_refused_before_it_is_made(run: Run, key: str, value: Any) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = json.loads((run.path / "model.json").read_text())
    values["config"]["network"]["channels"] = None
    write_json(run.path / "model.json", replaced(values, tuple(key.split(".")), value))
    with pytest.raises(InputError, match=r"model\.json: (describes a larger model|damaged|[\w.]+ = )"):
        run.model()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_recipes_are_built_within_its_own_weights(tmp_path: Path) -> None:
    for name in ("vae", "flow-vae", "vampprior-vae", "full-gaussian-vae", "flowers-vae", "kmnist-vae", "pca"):
        config = recipe(name)
        shape = (3, 64, 64) if "flowers" in name or name == "vanilla-vae" else (1, 28, 28)
        auto = {"network.name": "mlp"} if config.network.name == "auto" else {}
        auto |= {"likelihood.name": "gaussian"} if config.likelihood.name == "auto" else {}
        config = override(config, {"model.latent": config.model.latent or 16, **auto}, name)
        model = build(config, Like("image", shape, Scaling(), None, None))
        write_json(tmp_path / "model.json", description(config, model, False))
        (tmp_path / WEIGHTS).write_bytes(weights.to_bytes(model.state_dict(), {"format": "pt"}))
        again = described_model(tmp_path, "model.json", WEIGHTS)
        assert all(torch.equal(again.state_dict()[key], value) for key, value in model.state_dict().items())


def test_links_of_the_hubs_own_cache_are_followed_and_others_are_not(tmp_path: Path) -> None:
    cache, blobs = tmp_path / "models--a--b", tmp_path / "models--a--b" / "blobs"
    inside = cache / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    inside.mkdir(parents=True)
    about = json.loads((OLD / "model.json").read_text()) | {"library_name": "latlas"}
    write_json(blobs / "config.json", about)
    shutil.copy(OLD / WEIGHTS, blobs / WEIGHTS)
    for name in ("config.json", WEIGHTS):
        (inside / name).symlink_to(f"../../blobs/{name}")
    assert hub_layout.read(inside).latent == 2
    (inside / WEIGHTS).unlink()
    (inside / WEIGHTS).symlink_to(OLD / WEIGHTS)
    with pytest.raises(InputError, match="leads out of"):
        hub_layout.read(inside)


# --- pictures ---


def png(text: bytes = b"", side: int = 1) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    texts = chunk(b"zTXt", b"Title\0\0" + zlib.compress(text)) if text else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + texts
        + chunk(b"IDAT", zlib.compress(b"\0\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "content", [png(b"a" * 10**8), png(side=30_000), png()[:40], b"%!PS-Adobe EPSF", b""]
)
def test_a_picture_that_cannot_be_read_is_left_out_with_a_note(run: Run, content: bytes) -> None:
    (run.path / "figures").mkdir()
    (run.path / "figures" / "samples.png").write_bytes(content)
    (run.path / "figures" / "latent.png").write_bytes(png())
    page = report.page(run.path)
    assert page.count("data:image/png") == 1
    assert "figures/samples.png: no picture that can be read" in page
    assert html.picture(content, "samples") is None
    assert html.thumbnail(content, "samples") is None


# --- lists, findings, studies ---


def test_one_damaged_run_leaves_the_others_in_the_list(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for number, content in enumerate(("{", "[" * 10_000, '{"data": 1, "threads": 1}', "null")):
        other = Path(shutil.copytree(run.path, run.path.parent / f"bad-{number}"))
        (other / "run.json").write_text(content)
    assert [row["name"] for row in listing.list_runs(run.path.parent)] == ["run"]
    said = capsys.readouterr().err
    assert all(f"bad-{number}/run.json: damaged" in said.replace("\n", "") for number in range(4))


@pytest.mark.parametrize("value", [float("nan"), (1.0, float("inf")), [float("nan")], np.float32("nan")])
def test_a_finding_with_a_setting_that_is_no_number_shows_nothing(value: Any) -> None:
    finding = Finding("x", "x", 0.5, "x", "x", "x", settings={"likelihood.sigma": value})
    assert not finding.finite


def test_leases_and_study_json_are_data_too(tmp_path: Path) -> None:
    out = tmp_path / "study"
    (out / leases.FOLDER).mkdir(parents=True)
    for text in ("[]", '{"pid": "1"}', "[" * 10_000, '{"done": NaN}', ""):
        (out / leases.FOLDER / "a.1").write_text(text)
        assert leases.look(out, ["a"])["a"].state == "held"  # whoever wrote it gave signs of life just now
    (out / study_json.NAME).write_text('{"study": "s", "runs": [{"folder": 3}]}')
    with pytest.raises(
        InputError, match=r"study\.json: damaged: runs\.0\.folder is 3; expected a valid string"
    ):
        study_json.read(out, "s")
    shutil.rmtree(out / leases.FOLDER)
    (out / leases.FOLDER).symlink_to(tmp_path)
    with pytest.raises(InputError, match="leads out of"):
        study_json.read(out, "s")


def test_shapes_keep_what_they_do_not_name() -> None:
    values = json.loads((OLD / "metrics.json").read_text()) | {"later": {"x": [1]}}
    values["splits"]["test"]["later"] = 0.5
    reading.validated(formats.Metrics, values, "x")
