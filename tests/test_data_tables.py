"""Tables: numbers in, labels beside them, and clear words for everything else."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import latlas
from latlas import cli
from latlas.brought import NOTHING
from latlas.data import DataOptions, Dataset, load, load_items
from latlas.data.load import Like
from latlas.errors import InputError, LatlasError
from latlas.runs import Run, dataset_of
from latlas.settings import Config

RNG = np.random.default_rng(0)


def frame(rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "height": RNG.normal(170, 10, rows),
            "weight": RNG.normal(70, 12, rows),
            "age": RNG.integers(1, 90, rows),
            "kind": np.where(np.arange(rows) % 3 == 0, "cat", "dog"),
        }
    )


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix in (".parquet", ".pq"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def read(path: Path, **options: object) -> Dataset:
    return load(DataOptions(source=str(path), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "pq", "CSV"])
def test_a_table_with_labels(tmp_path: Path, suffix: str) -> None:
    table = frame()
    dataset = read(write(table, tmp_path / f"my table.{suffix}"), label="kind")
    assert (dataset.kind, dataset.shape, dataset.name) == ("table", (3,), "my-table")
    assert dataset.columns == ("height", "weight", "age")
    assert dataset.classes == ("cat", "dog")
    values = table.drop(columns="kind").to_numpy()
    for split in (dataset.train, dataset.valid, dataset.test):
        np.testing.assert_allclose(split.x, values[split.index])
        np.testing.assert_array_equal(split.labels, (table["kind"] == "dog").to_numpy()[split.index])
    np.testing.assert_allclose(dataset.scaling.shift, values[dataset.train.index].mean(0))
    np.testing.assert_allclose(dataset.scaling.scale, values[dataset.train.index].std(0))


@pytest.mark.parametrize("label", ["height", "age", "kind"])
def test_label_types(tmp_path: Path, label: str) -> None:
    table = frame()
    if label != "kind":
        table = table.drop(columns="kind")
    dataset = read(write(table, tmp_path / "a.csv"), label=label)
    assert dataset.train.labels is not None
    assert (dataset.classes is None) == (label == "height")
    assert dataset.train.labels.dtype == (np.float64 if label == "height" else np.int64)
    assert dataset.columns is not None
    assert label not in dataset.columns


def test_odd_but_good_tables(tmp_path: Path) -> None:
    table = frame().drop(columns="kind")
    table.to_csv(tmp_path / "a.csv", index=False, sep=";")
    assert read(tmp_path / "a.csv").columns == ("height", "weight", "age")
    nullable = table.astype({"age": "Int64"}).assign(tall=table["height"] > 170)
    nullable.to_parquet(tmp_path / "c.parquet")
    dataset = read(tmp_path / "c.parquet")
    assert dataset.train.x.dtype == np.float64
    assert dataset.shape == (4,)
    table.astype(np.float32).to_parquet(tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").train.x.dtype == np.float32


def test_zeros_and_ones_are_binary_and_pixels_images(tmp_path: Path) -> None:
    bits = pd.DataFrame(RNG.integers(0, 2, (40, 6)), columns=list("abcdef"))
    bits["e"] = 0  # constant, and allowed in 0/1 data
    dataset = read(write(bits, tmp_path / "bits.csv"))
    assert (dataset.kind, dataset.binary, dataset.columns) == ("vector", True, tuple("abcdef"))
    pixels = pd.DataFrame(RNG.integers(0, 256, (40, 12)), columns=[f"pixel{i}" for i in range(12)])
    pixels["pixel0"] = 0
    pixels.insert(0, "label", np.arange(40) % 10)
    dataset = read(write(pixels, tmp_path / "mnist.csv"), label="label", image_size=(4, 3))
    assert (dataset.kind, dataset.shape, dataset.train.x.dtype) == ("image", (1, 4, 3), np.uint8)
    assert dataset.classes == tuple("0123456789")
    assert dataset.columns is None


def test_the_constant_column_is_named(tmp_path: Path) -> None:
    path = write(frame().drop(columns="kind").assign(flag=7), tmp_path / "a.csv")
    with pytest.raises(
        InputError, match=r"column 'flag' constant in training; .* with data.drop = \['flag'\]"
    ):
        read(path)
    with pytest.raises(InputError, match=r"with data.drop = \['age', 'flag'\]"):
        read(path, drop=["age"])


BAD = {
    "text": (
        frame(),
        {},
        r"not numbers in column 'kind'; give numbers, or leave out what is not a feature with data.label = 'kind', or"
        r" data.drop = \['kind'\]$",
    ),
    "dates": (
        frame().drop(columns="kind").assign(day=pd.Timestamp("2024-01-01"), b="x"),
        {},
        r"not numbers in columns 'day'.*, 'b'; .* data.drop = \['day', 'b'\]$",
    ),
    "gaps": (
        frame().drop(columns="kind").assign(height=[np.nan] * 3 + [1.0] * 37, age=[np.nan] + [2] * 39),
        {},
        r"missing values in columns 'height' \(3 of 40 rows\), 'age' \(1 of 40 rows\); fill what is missing, or leave",
    ),
    "gaps everywhere": (
        frame()[["height", "age"]].assign(height=[np.nan] * 3 + [1.0] * 37, age=[1.0] * 37 + [np.nan] * 3),
        {},
        r"missing values in columns 'height' \(3 of 40 rows\), 'age' \(3 of 40 rows\); fill what is missing$",
    ),
    "infinite": (
        frame().drop(columns="kind").assign(height=[np.inf] + [1.0] * 39),
        {},
        "infinite values in column 'height'",
    ),
    "some cells": (
        frame().drop(columns="kind").assign(age=["7"] * 20 + ["n/k"] * 3 + ["8"] * 17),
        {},
        "not numbers in column 'age' \\('n/k' in (line 22|row 20) and 2 more\\)",
    ),
    "no such label": (frame(), {"label": "kid"}, "unknown label column in .*: 'kid'; did you mean 'kind'"),
    "no such column": (frame(), {"drop": ["hight"]}, "data.drop: unknown .*: 'hight'; did you mean 'height'"),
    "no such choice": (
        frame(),
        {"columns": "age,kid"},
        "data.columns: unknown .*: 'kid'; did you mean 'kind'",
    ),
    "label dropped": (
        frame(),
        {"label": "kind", "drop": ["kind"]},
        "data.drop: 'kind' is the column of labels",
    ),
    "labels only": (frame()[["kind"]], {"label": "kind"}, "no column is left to train on: it has 'kind'"),
    "all dropped": (frame()[["age"]], {"drop": ["age"]}, "no column is left to train on"),
    "no rows": (frame(0).drop(columns="kind"), {}, "no rows"),
    "layout": (frame(), {"label": "kind", "layout": "NHW"}, "data.layout = NHW: has no meaning for a table"),
    "image size": (
        frame().drop(columns="kind"),
        {"image_size": (2, 2)},
        "3 values an item do not make images of 2x2",
    ),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("case", list(BAD))
def test_bad_tables(tmp_path: Path, suffix: str, case: str) -> None:
    table, options, message = BAD[case]
    path = write(table, tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match=message) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"\n \n,,\n"),
        ("a.csv", b'a,b\n1,2\n3,"4\n5,6\n7,8\n'),
        ("a.csv", b"a\0b\0"),
        ("a.csv", b"a,b\n1,2\0\n3,4\n5,6\n7,8\n"),
        ("a.csv", b"\xff\xfe\x00a,b\n"),
        ("a.parquet", b"nonsense"),
        ("a.parquet", b""),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: cannot be read as a table") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [("a", "a"), ("a", " a "), ("a b", "a  b"), ("1.5", "1.5")])
def test_columns_of_one_name_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    columns = [pa.array(RNG.normal(size=20)), pa.array(RNG.normal(size=20))]
    pq.write_table(pa.table(columns, names=list(names)), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(written(FIGURES[:, :2], names))
    for suffix in ("csv", "parquet"):
        with pytest.raises(InputError, match=r"more than one column called '(a|a b|1\.5)'"):
            read(tmp_path / f"a.{suffix}", **({"header": "yes"} if suffix == "csv" else {}))


# Text tables. Every way in which one is written; the numbers must be those that were written.

FIGURES = RNG.normal(size=(24, 3)).round(4) * [1, 10, 100]
SIGNS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "space": " "}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]


def written(
    rows: Sequence[Sequence[object]] | np.ndarray, header: Sequence[str] | None = None, sign: str = ",",
    decimal: str = ".", end: str = "", newline: str = "\n",
) -> str:  # fmt: skip
    """A text table, as many programs write them."""
    text = io.StringIO()
    out = csv.writer(text, delimiter=sign, lineterminator=end + newline)
    out.writerows([header] if header else [])
    out.writerows(
        [[str(v).replace(".", decimal) if isinstance(v, float) else v for v in row] for row in rows]
    )
    return text.getvalue()


def whole(dataset: Dataset) -> np.ndarray:
    """All items in the order of the source."""
    splits = (dataset.train, dataset.valid, dataset.test)
    return np.concatenate([s.x for s in splits])[np.argsort(np.concatenate([s.index for s in splits]))]


def labels_of(dataset: Dataset) -> list[object]:
    """The labels in the order of the source, by name, None where there is none."""
    splits = (dataset.train, dataset.valid, dataset.test)
    order = np.argsort(np.concatenate([s.index for s in splits]))
    codes = np.concatenate([s.labels for s in splits if s.labels is not None])[order]
    if dataset.classes is None:
        return [None if np.isnan(c) else float(c) for c in codes]
    return [dataset.classes[c] if c >= 0 else None for c in codes]


def text_table(tmp_path: Path, text: str | bytes, **options: object) -> Dataset:
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(tmp_path / "t.csv", **options)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("trailing", [False, True])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("sign", SIGNS)
def test_every_form_of_a_text_table(
    tmp_path: Path, sign: str, decimal: str, trailing: bool, newline: str
) -> None:
    names = ("time", "größe", "volt")
    for encoding in ENCODINGS:
        text = written(FIGURES, names, SIGNS[sign], decimal, SIGNS[sign] * trailing, newline)
        dataset = text_table(tmp_path, text.encode(encoding))
        assert dataset.columns == names
        np.testing.assert_allclose(whole(dataset), FIGURES)
        assert dataset.notes[0].startswith("line 1 is the header")
        assert ("decimal commas" in dataset.notes[0]) == (decimal == ",")
        assert ("Windows-1252" in dataset.notes[0]) == (encoding == "cp1252")


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("sign", SIGNS)
def test_texts_beside_the_numbers_do_not_hide_the_separator(tmp_path: Path, sign: str, decimal: str) -> None:
    odd = ['say "no"', "a, b", "x; y", "p | q", "tab\there", "two words", "", "1,5", "2.5", "line\nbreak"]
    if sign == "space":  # between spaces nothing cannot be seen, and a tab is one
        odd[4] = odd[6] = "-"
    rows = [[i, odd[i % 10], *row, ["yes", "no"][i % 2], i / 7] for i, row in enumerate(FIGURES.tolist())]
    text = written(rows, ("id", "note", "a", "b", "c", "kind", "share"), SIGNS[sign], decimal)
    dataset = text_table(tmp_path, text, drop=["note", "id"], label="kind")
    assert dataset.columns == ("a", "b", "c", "share")
    np.testing.assert_allclose(whole(dataset), [row[2:5] + row[6:] for row in rows])
    assert labels_of(dataset) == ["yes", "no"] * 12


@pytest.mark.parametrize("ends", [("\t", "\t"), ("", "\t"), ("\t", "")])
@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_tabs_at_the_end_of_lines_are_no_spaces(tmp_path: Path, suffix: str, ends: tuple[str, str]) -> None:
    lines = ["a\tb\tc" + ends[0], *("\t".join(map(str, row)) + ends[1] for row in FIGURES.tolist())]
    (tmp_path / f"t.{suffix}").write_text("\n".join(lines))
    data = read(tmp_path / f"t.{suffix}")
    assert "separated by tabs" in data.notes[0]
    np.testing.assert_allclose(whole(data), FIGURES)
    assert data.columns == ("a", "b", "c")


def test_space_around_values_and_columns_of_fixed_width(tmp_path: Path) -> None:
    padded = written(FIGURES, (" a", "b ", " c"), ",").replace(",", " , ")
    assert text_table(tmp_path, padded).columns == ("a", "b", "c")
    np.testing.assert_allclose(whole(text_table(tmp_path, padded)), FIGURES)
    fixed = pd.DataFrame(FIGURES, columns=list("abc")).to_string(index=False)
    np.testing.assert_allclose(whole(text_table(tmp_path, fixed)), FIGURES)


def test_what_is_no_row_is_left_out_and_said(tmp_path: Path) -> None:
    text = written(FIGURES, ("a", "b", "c"))
    lines = text.splitlines(keepends=True)
    odd = (
        "# made by hand\n# x, y, z\n\n"
        + "".join(lines[:5])
        + ",,\n\n"
        + "".join(lines[5:])
        + "# end\n,,\n \n\n"
    )
    dataset = text_table(tmp_path, odd)
    np.testing.assert_allclose(whole(dataset), FIGURES)
    assert (
        dataset.notes[0]
        == "line 4 is the header; separated by commas; 2 empty rows left out; 3 comments left out"
    )
    excel = text_table(tmp_path, "sep=;\r\n" + written(FIGURES, ("a", "b", "c"), ";", ",", "", "\r\n"))
    np.testing.assert_allclose(whole(excel), FIGURES)
    # A number sign may also begin a value.
    colours = text_table(
        tmp_path,
        written([[f"#ff{i % 2}", *row] for i, row in enumerate(FIGURES)], ("kind", "a", "b", "c")),
        label="kind",
    )
    assert labels_of(colours) == ["#ff0", "#ff1"] * 12
    np.savetxt(tmp_path / "numpy.csv", FIGURES, delimiter=",", header="a,b,c")
    dataset = read(tmp_path / "numpy.csv")
    assert dataset.columns == ("a", "b", "c")
    np.testing.assert_allclose(whole(dataset), FIGURES)
    with pytest.raises(InputError, match=r"'a' \('#7' in line 26\)"):
        text_table(tmp_path, text + "#7,8,9\n")


def test_a_header_of_names_and_quoted_line_breaks(tmp_path: Path) -> None:
    text = 'a,"b\nin mm",c\n' + written(FIGURES) + '1,"2",3\n'
    dataset = text_table(tmp_path, text)
    assert dataset.columns == ("a", "b in mm", "c")
    np.testing.assert_allclose(whole(dataset), [*FIGURES, [1, 2, 3]])
    with pytest.raises(InputError, match=r"rows has more or fewer: line 28 \(2\)"):
        text_table(tmp_path, text + "4,5\n")


# Whether the first row names the columns.

NUMERIC = pd.DataFrame(RNG.random((50, 3)), columns=[400, 410, 420])
UNDECIDED = {
    "numbers for names": NUMERIC.to_csv(index=False),
    "no header": NUMERIC.to_csv(index=False, header=False),
    "values twice": "1.5,1.5,2\n" + written(FIGURES),
    "years": NUMERIC.assign(country=list("abcde") * 10)[["country", 400, 410, 420]].to_csv(index=False),
    "a gap in the first row": "high,NA,7\nlow,2.5,8\n" + written([["mid", i, i] for i in range(9)]),
    "infinite": "inf,1,2\n" + written(FIGURES),
    "truth values": written([["True", "False"], ["False", "False"], ["True", "True"]] * 5),
    "below a limit": "1.5,<0.1,2\n" + written(FIGURES),
    "decimal commas": NUMERIC.to_csv(index=False, header=False, sep=";", decimal=","),
    "a damaged first value": "NA897,0.583,0.04\n" + NUMERIC.to_csv(index=False, header=False),
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_an_undecided_header_is_asked_for(tmp_path: Path, case: str) -> None:
    with pytest.raises(InputError, match=r"data\.header = 'yes', or data\.header = 'no'"):
        text_table(tmp_path, UNDECIDED[case])


def test_the_answer_decides(tmp_path: Path) -> None:
    for how, rows, columns in (
        ("yes", 50, ("400", "410", "420")),
        ("no", 51, ("0", "1", "2")),
        (True, 50, None),
    ):
        dataset = text_table(tmp_path, UNDECIDED["numbers for names"], header=how)
        assert len(whole(dataset)) == rows
        assert columns in (None, dataset.columns)
        np.testing.assert_allclose(whole(dataset)[rows - 50 :], NUMERIC)
    np.testing.assert_allclose(
        whole(text_table(tmp_path, UNDECIDED["values twice"], header="no"))[0], [1.5, 1.5, 2]
    )
    np.testing.assert_allclose(whole(text_table(tmp_path, UNDECIDED["decimal commas"], header="no")), NUMERIC)
    with pytest.raises(InputError, match=r"'0' \('a' in line 1\)"):
        text_table(tmp_path, written(FIGURES, ("a", "b", "c")), header="no")


@pytest.mark.parametrize(
    ("text", "options", "columns", "rows"),
    [
        (NUMERIC.to_csv(), {}, ("Unnamed: 0", "400", "410", "420"), 50),
        (
            NUMERIC.rename(columns=str).assign(s="x").to_csv(index=False),
            {"label": "s"},
            ("400", "410", "420"),
            50,
        ),
        (NUMERIC.assign(n=range(50))[["n", 400]].to_csv(index=False), {}, ("n", "400"), 50),
        (
            NUMERIC.assign(s=["x", "y"] * 25).to_csv(index=False, header=False),
            {"label": 3},
            ("0", "1", "2"),
            50,
        ),
        (NUMERIC.assign(s="x").to_csv(index=False, header=False), {"drop": ["3"]}, ("0", "1", "2"), 50),
        (
            NUMERIC.rename(columns=str).assign(s="x")[["s", "400"]].to_csv(index=False),
            {"columns": "400"},
            ("400",),
            50,
        ),
    ],
)
def test_evidence_for_and_against_a_header(
    tmp_path: Path, text: str, options: dict[str, object], columns: tuple[str, ...], rows: int
) -> None:
    if options == {"columns": "400"}:  # the name of a column tells, that of a number does not
        options = {"columns": "400", "header": "yes"}
    dataset = text_table(tmp_path, text, **options)
    assert (dataset.columns, len(whole(dataset))) == (columns, rows)


# Rows of other lengths.


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("time,volt\n" + written(FIGURES), r"line 1\) has 2 values, but 24 of 24 rows .* line 2 \(3\).* and 19 more"),
        (written(FIGURES, ("a", "b", "c")) + "1,2\n\n3,4,5,6\n", r"2 of 26 rows .*: line 26 \(2\), line 28 \(4\)"),
        (written(FIGURES, ("a", "b", "c")) + "1,2,3,\n", r"1 of 25 rows has more or fewer: line 26 \(4\)"),
        ("a,b,c\n" + written(FIGURES, end=",") + "1,2,3,4\n", r"25 of 25 rows"),
        ("a,b,c,d,\n" + written(FIGURES), r"has 5 values, but 24 of 24"),
        ("results of May\n" + written(FIGURES, ("a", "b", "c")), r"line 1\) has 1 value, but 25 of 25 rows"),
        ("a\n" + written(FIGURES[:, :1]).replace(".", ","), r"decimal marks, read it with data\.separator = ';'"),
    ],
)  # fmt: skip
def test_rows_of_another_length_are_refused_by_number(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        text_table(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_column_without_name_and_values_is_left_out(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    for text in (
        written(FIGURES, names, end=","),
        written(FIGURES, (*names, ""), end="").replace("\r", ""),
        written([[*row, ""] for row in FIGURES], names),
        written([[*row[:2], "", row[2], "", ""] for row in FIGURES.tolist()], ("a", "b", "", "c", "", "")),
    ):
        dataset = text_table(tmp_path, text)
        assert dataset.columns == names
        np.testing.assert_allclose(whole(dataset), FIGURES)
    dataset = text_table(tmp_path, written(FIGURES, end=","), header="no")
    assert dataset.columns == ("0", "1", "2")
    assert "1 column without name and values left out" in dataset.notes[0]


# Decimal marks.


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (["1,5", "1.234,5", "1.234"], [1.5, 1234.5, 1234]),
        (["1,234.5", "1,234,567", "2"], [1234.5, 1234567, 2]),
        (["1 234,5", "2,25", "1 234 567"], [1234.5, 2.25, 1234567]),
        (["1'234.5", "2", "3"], [1234.5, 2, 3]),
        (["0,123", "1,234", "2,345"], [0.123, 1.234, 2.345]),
        (["-1,5e3", "+2,5", ",5"], [-1500, 2.5, 0.5]),
    ],
)
def test_decimal_marks_and_thousands(tmp_path: Path, cells: list[str], value: list[float]) -> None:
    rows = [[cell, i % 7] for i, cell in enumerate(cells * 5)]
    for sign in (";", "\t", ","):
        x = whole(text_table(tmp_path, written(rows, ("a", "b"), sign)))
        np.testing.assert_allclose(x[:, 0], value * 5)
        np.testing.assert_array_equal(x[:, 1], [i % 7 for i in range(15)])


def test_a_comma_that_may_be_either_is_asked_for(tmp_path: Path) -> None:
    rows = [[f"{1 + i % 5},{100 + i}", i % 7] for i in range(20)]
    text = written(rows, ("a", "b"), ";")
    with pytest.raises(
        InputError, match=r"line 2 may be .* with data\.decimal = ',', or data\.decimal = '\.'"
    ):
        text_table(tmp_path, text)
    for mark, factor in ((",", 1), (".", 1000)):
        x = whole(text_table(tmp_path, text, decimal=mark))
        np.testing.assert_allclose(x[:, 0], [(1 + i % 5 + (100 + i) / 1000) * factor for i in range(20)])
    # Another column tells.
    for cell, factor in (("2,5", 1), ("2.5", 1000)):
        text = written([[row[0], f"{i}{cell}"] for i, row in enumerate(rows)], ("a", "b"), ";")
        np.testing.assert_allclose(whole(text_table(tmp_path, text))[0, 0], 1.1 * factor)


@pytest.mark.parametrize("rows", [[["1,5", 2.5]], [["1,5", 2], ["2.5", 3]], [["1.234,5", 2.5]]])
def test_two_decimal_marks_in_one_table_are_refused(tmp_path: Path, rows: list[list[object]]) -> None:
    with pytest.raises(InputError, match=r"decimal (points|mark)") as caught:
        text_table(tmp_path, written(rows * 9, ("a", "b"), ";"))
    assert "line 2" in str(caught.value)


def test_an_encoding_may_be_told(tmp_path: Path) -> None:
    text = written(FIGURES, ("高さ", "b", "c"))
    assert text_table(tmp_path, text.encode("shift_jis"), encoding="shift_jis").columns == ("高さ", "b", "c")
    with pytest.raises(InputError, match=r"read it with data\.encoding = 'utf-16-le'"):
        text_table(tmp_path, text.encode("utf-16-le"))
    assert text_table(tmp_path, text.encode("utf-16-le"), encoding="utf-16-le").columns == ("高さ", "b", "c")
    with pytest.raises(ValueError, match="no such encoding"):
        DataOptions(encoding="utf-9")
    with pytest.raises(ValueError, match="expected one character"):
        DataOptions(separator="ab")
    assert whole(text_table(tmp_path, written(FIGURES, ("a", "b", "c"), ":"), separator=":")).shape == (24, 3)


# Columns that are no features.


def patients(rows: int = 60) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient id": [f"p{i}" for i in range(rows)],
            "tweet": [10**18 + i for i in range(rows)],
            "size, mm": RNG.normal(size=rows),
            "texture": RNG.normal(size=rows),
            "gap": [np.nan] * 3 + [1.5] * (rows - 3),
            "flag": 1,
            "diagnosis": ["M", "B"] * (rows // 2),
            "note": [f"it's {i}" for i in range(rows)],
        }
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("way", [0, -1])
@pytest.mark.parametrize(
    "options", [{}, {"label": "diagnosis"}, {"drop": ["texture"]}, {"columns": "texture,note,flag,gap"}]
)
def test_every_advice_leads_to_data(
    tmp_path: Path, options: dict[str, object], way: int, suffix: str
) -> None:
    path = write(patients(), tmp_path / f"a.{suffix}")
    said = ""
    for _ in range(3):
        try:
            dataset = read(path, **options)
            break
        except InputError as error:
            said += str(error) if "label" in options else ""
            options |= {key.removeprefix("data."): value for key, value in error.remedy[way].items()}
    kept = {"texture"} if "columns" in options else {"size, mm", "texture"} - set(options["drop"])
    assert set(dataset.columns or ()) == kept
    assert "data.label" not in said


def test_the_command_line_gives_the_advice_as_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_read(config: Config, *_: object, **__: object) -> None:
        raise LatlasError(f"read {load(config.data).columns}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("latlas.experiment.train", only_read)
    write(patients(), tmp_path / "a.csv")
    command = ["train", "a.csv"]
    while (code := cli.run(command)) == 2 and len(command) < 40:
        command += shlex.split(capsys.readouterr().err.rsplit(" with ", 1)[1].split(", or ")[0])
    assert (code, capsys.readouterr().err) == (1, "error: read ('size, mm', 'texture')\n")
    assert command[2:] == [
        "--label", "diagnosis", "--drop", "patient id", "--drop", "tweet", "--drop", "gap", "--drop", "note",
        "--drop", "patient id", "--drop", "tweet", "--drop", "gap", "--drop", "note", "--drop", "flag",
    ]  # fmt: skip
    (tmp_path / "b.csv").write_text(UNDECIDED["numbers for names"])
    assert cli.run(["train", "b.csv"]) == 2
    assert capsys.readouterr().err.endswith("say which with --header yes, or --header no\n")
    (tmp_path / "c.csv").write_text(written([[f"1,{i}00"] for i in range(1, 10)], ("a",), ";"))
    assert cli.run(["train", "c.csv", "--set", "data.separator=;"]) == 2
    assert capsys.readouterr().err.endswith("with --set data.decimal=,, or --set data.decimal=.\n")


def test_ids_are_named_and_left_out_when_told(tmp_path: Path) -> None:
    table = (
        frame().drop(columns="kind").assign(sample_id=RNG.permutation(40) * 3 + 5, n=RNG.permutation(40) + 7)
    )
    for suffix in ("csv", "parquet"):
        path = write(table, tmp_path / f"a.{suffix}")
        dataset = read(path)
        assert dataset.columns == ("height", "weight", "age", "sample_id", "n")
        assert any("columns 'sample_id', 'n' number the rows" in note for note in dataset.notes)
        dataset = read(path, drop=["n", "sample_id", "n"])
        assert dataset.columns == ("height", "weight", "age")
        assert "left out: 'n', 'sample_id'" in dataset.notes
        assert not any("number the rows" in note for note in dataset.notes)
        assert read(path, columns=["age", "height"]).columns == ("height", "age")
        assert read(path, columns="age, height", label="n").columns == ("height", "age")
    # 19 and 24 digits: more than float64 holds.
    for base in (10**18, 10**23):
        path = write(
            table.assign(n=[base + i for i in range(40)]).astype({"n": object if base > 2**63 else "i8"}),
            tmp_path / "b.csv",
        )
        with pytest.raises(
            InputError, match=r"above 2\^53, as ids are, .* in column 'n'; .* data.drop = \['n'\]"
        ):
            read(path)


# Labels.


def test_labels_of_every_kind(tmp_path: Path) -> None:
    words = ["NA", "None", "null", "nan", "x"] * 8
    for suffix in ("csv", "parquet"):
        dataset = read(write(frame().assign(kind=words), tmp_path / f"a.{suffix}"), label="kind")
        assert labels_of(dataset) == words
    given = {
        "words": (["cat", None, "dog", None] * 10, ["cat", None, "dog", None] * 10),
        "whole": ([1, None, 0, None] * 10, ["1", None, "0", None] * 10),
        "real": ([1.5, None, 0.5, None] * 10, [1.5, None, 0.5, None] * 10),
        "truth": ([True, None, False, None] * 10, ["True", None, "False", None] * 10),
    }
    for values, expected in given.values():
        for suffix in ("csv", "parquet"):
            dataset = read(write(frame().assign(kind=values), tmp_path / f"b.{suffix}"), label="kind")
            assert labels_of(dataset) == expected
            assert any(note.startswith("labels: 20 of 40 items have one") for note in dataset.notes)
    dataset = read(write(frame().assign(kind=[1.5, "NA", 2.5, ""] * 10), tmp_path / "c.csv"), label="kind")
    assert labels_of(dataset) == [1.5, None, 2.5, None] * 10
    dataset = read(write(frame().assign(kind=""), tmp_path / "d.csv"), label="kind")
    assert (dataset.classes, dataset.train.labels) == (None, None)
    assert "labels: every one is missing" in dataset.notes


def test_columns_of_parquet(tmp_path: Path) -> None:
    path, table = tmp_path / "a.parquet", frame()
    kinds = table["kind"]
    table = table.drop(columns="kind")
    table.sort_values("age").to_parquet(path)
    dataset = read(path)
    assert dataset.columns == ("height", "weight", "age")
    assert "left out, as the file says that it names the rows: '__index_level_0__'" in dataset.notes
    assert "__index_level_0__" in (read(path, columns="age,__index_level_0__").columns or ())
    table.set_index(kinds).to_parquet(path)
    assert read(path).columns == ("height", "weight", "age")
    assert labels_of(read(path, label="kind")) == kinds.tolist()
    assert read(path, columns="age", label="kind").columns == ("age",)
    table.assign(kind=kinds.astype("category").where(kinds == "cat")).to_parquet(path)
    assert labels_of(read(path, label="kind")) == [k if k == "cat" else None for k in kinds]
    table.assign(kind=[k.encode() for k in kinds]).to_parquet(path)
    assert labels_of(read(path, label="kind")) == kinds.tolist()
    table.assign(price=[Decimal(i) / 10 for i in range(40)]).to_parquet(path)
    np.testing.assert_allclose(whole(read(path))[:, 3], np.arange(40) / 10)
    # The width of an integer makes no pixels of a table.
    small = pd.DataFrame(RNG.integers(0, 256, (40, 4)), columns=list("abcd"))
    datasets = []
    for dtype in ("u1", "u2", "u8", "i8", ">i4"):
        small.astype(np.dtype(dtype).newbyteorder("=")).to_parquet(path)
        datasets.append(read(path))
    assert {(d.kind, d.scaling, d.fingerprint) for d in datasets} == {
        ("table", datasets[0].scaling, datasets[0].fingerprint)
    }
    with pytest.raises(InputError, match=r"data\.header = yes: has no meaning for a Parquet file"):
        read(path, header="yes")


# Later use.


def test_later_tables_are_matched_by_name(tmp_path: Path) -> None:
    table = frame().assign(id=[f"r{i}" for i in range(40)])
    options = DataOptions(source=str(write(table, tmp_path / "a.csv")), label="kind", drop=("id",))
    dataset = load(options)
    model = Like(dataset.kind, dataset.shape, dataset.scaling, dataset.columns, dataset.classes)

    def use(
        other: pd.DataFrame, options: DataOptions = options, model: Like = model, **how: object
    ) -> np.ndarray:
        other.to_csv(tmp_path / "b.csv", **{"index": False, **how})  # type: ignore[arg-type]
        return load_items(str(tmp_path / "b.csv"), model, options).x

    values = table[["height", "weight", "age"]].to_numpy()
    for same in (table, table[["id", "age", "weight", "kind", "height"]], table[["weight", "age", "height"]]):
        np.testing.assert_allclose(use(same), values)
        np.testing.assert_allclose(use(same, sep=";", decimal=","), values)
    for bad, message in (
        (table.drop(columns=["age", "height"]), "without columns 'height', 'age' that the model needs"),
        (
            table.assign(c=1, d="x"),
            "columns 'c', 'd' that the model was not trained on; remove them from the table",
        ),
        (
            table.assign(age=np.nan),
            r"missing values in column 'age' \(40 of 40 rows\); fill what is missing$",
        ),
    ):
        with pytest.raises(InputError, match=message):
            use(bad)
    for bare in (table.drop(columns=["kind", "id"]), table):
        with pytest.raises(
            InputError, match="no header that names the columns of the model: 'height', 'weight', 'age'"
        ):
            use(bare, header=False)
    # A run that chose its columns reads these and lets others be.
    chosen = options.model_copy(update={"drop": (), "columns": ("height", "weight", "age")})
    np.testing.assert_allclose(use(table.assign(c=1), chosen), values)


def test_later_tables_without_names_are_matched_by_position(tmp_path: Path) -> None:
    table = frame().drop(columns="kind")
    table.to_csv(tmp_path / "a.csv", index=False, header=False)
    options = DataOptions(source=str(tmp_path / "a.csv"), header="no")
    dataset = load(options)
    model = Like(dataset.kind, dataset.shape, dataset.scaling, dataset.columns)
    other = tmp_path / "b.csv"
    table.to_csv(other, index=False, header=False)
    assert len(load_items(str(other), model, options).x) == 40
    # Positions as names, as pandas writes them, are no row of values.
    table.set_axis([0, 1, 2], axis=1).to_csv(other, index=False)
    assert len(load_items(str(other), model, options).x) == 40
    table.to_csv(other, index=False)
    with pytest.raises(InputError, match=r"not numbers in columns '0' \('height' in line 1\)"):
        load_items(str(other), model, options)
    table.assign(c=1.5).to_csv(other, index=False, header=False)
    with pytest.raises(InputError, match="column '3' that the model was not trained on"):
        load_items(str(other), model, options)


# A run on labels most of which are missing; warnings are errors.


def test_a_run_whose_labels_are_mostly_missing(tmp_path: Path) -> None:
    z, known = RNG.integers(0, 3, 600), RNG.permutation(600) < 107
    table = pd.DataFrame(RNG.normal(size=(600, 4)) + 4 * z[:, None], columns=list("abcd"))
    table["kind"] = np.where(known, np.array(["cat", "NA", "dog"])[z], "")
    table.to_csv(tmp_path / "t.csv", index=False)
    measured = {"evaluation.groups": ["downstream"], "evaluation.diagnose": True, "pictures.draw": False}
    run = latlas.train(
        tmp_path / "t.csv",
        label="kind",
        latent=1,
        epochs=3,
        out=tmp_path / "run",
        quiet=True,
        settings=measured,
    )
    test = load(DataOptions(source=str(tmp_path / "t.csv"), label="kind")).test
    numbers = run.metrics["numbers"]
    for name in ("probe_accuracy", "knn_accuracy", "nmi", "ari", "silhouette"):
        assert numbers[name]["items"] == known[test.index].sum()
    assert any(
        note.startswith("labels: 107 of 600 items have one (of 3 classes)") for note in run.info["notes"]
    )
    codes = latlas.encode(run, split="test", out=tmp_path / "codes.npz", quiet=True).arrays["labels"]
    np.testing.assert_array_equal(codes, np.where(known, np.array([1, 0, 2])[z], -1)[test.index])
    np.testing.assert_array_equal(
        latlas.encode(run, tmp_path / "t.csv", quiet=True).arrays["labels"] >= 0, known
    )
    assert (run.path / "report.html").exists()


TYPES = ("uint8", "int16", "int64", "uint16", "float32", "float64")


def test_a_table_of_small_numbers_is_one_data_set_whatever_holds_it(tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(0).integers(0, 256, (60, 5)), columns=list("abcde"))
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    for name in TYPES:
        table.astype(name).to_parquet(tmp_path / f"{name}.parquet")
        np.save(tmp_path / f"{name}.npy", table.to_numpy().astype(name))
        np.save(tmp_path / f"big-{name}.npy", table.to_numpy().astype(np.dtype(name).newbyteorder(">")))
    read = {path.name: load(DataOptions(source=str(path))) for path in sorted(tmp_path.iterdir())}
    assert len(read) == 2 + 3 * len(TYPES)
    assert {(d.kind, d.scaling.kind, d.fingerprint) for d in read.values()} == {
        ("table", "standard", read["t.csv"].fingerprint)
    }
    assert "a table of 5 columns, standardised" in read["uint8.npy"].notes[0]
    assert "data.kind = vector" in read["uint8.npy"].notes[0]


def test_a_run_that_began_without_a_header_unasked_reads_its_table_again(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(UNDECIDED["no header"])
    options = DataOptions(source=str(tmp_path / "t.csv"))
    dataset = load(options.model_copy(update={"header": "no"}))
    run = cast(
        Run,
        SimpleNamespace(
            data_options=lambda _: options,
            info={"data": {"fingerprint": dataset.fingerprint}},
            path=tmp_path,
            brought=NOTHING,
        ),
    )
    np.testing.assert_array_equal(dataset_of(run).train.x, dataset.train.x)
    (tmp_path / "t.csv").write_text(UNDECIDED["numbers for names"])
    with pytest.raises(InputError, match="these data are not those"):
        dataset_of(run)


# What rows are called, and rows that are none.


def named_rows(path: Path, **options: object) -> list[str] | None:
    data = read(path, **options)
    if data.train.names is None:
        return None
    parts = [data.train, data.valid, data.test]
    names, index = (np.concatenate([getattr(part, key) for part in parts]) for key in ("names", "index"))
    return [str(name) for name in names[np.argsort(index)]]


NUMBERED = [f"{i:03}" for i in range(40)]
COLUMNS: dict[str, list[object]] = {
    "id": list(NUMBERED),
    "name": [f"n {i}" for i in range(40)],
    "note": [f"seen {i}" for i in range(40)],
    "visit": [7 * i for i in range(40)],
    "site": ["a", "b"] * 20,
    "weight2": [i + 0.5 for i in range(40)],
    "gap": ["", *[f"g{i}" for i in range(39)]],
    "age": [i % 7 for i in range(40)],
    "n": list(range(40)),
}


@pytest.mark.parametrize(
    ("options", "named_by"),
    [
        ({"drop": ["id"]}, "id"),
        ({"drop": ["note", "name", "id"]}, "id"),
        ({"drop": ["note", "name"]}, "name"),
        ({"drop": ["note"]}, "note"),
        ({"drop": ["visit", "note"]}, "note"),
        ({"drop": ["visit"]}, "visit"),
        ({"drop": ["site", "weight2", "gap", "age"]}, None),
        ({"drop": ["site", "gap", "visit"], "label": "visit"}, "refused"),
        ({"drop": ["site"], "label": "visit"}, None),
        ({"columns": "a,b", "drop": []}, "n"),
        ({"drop": ["site"], "keep": ["n"]}, "n"),
    ],
)
def test_a_column_that_was_left_out_names_the_rows(
    tmp_path: Path, options: dict[str, object], named_by: str | None
) -> None:
    dropped = cast(list[str], options["drop"])
    used = {*dropped, options.get("label"), *cast(list[str], options.pop("keep", []))}
    used |= {"n", "site"} if "columns" in options else set()
    table = pd.DataFrame({"a": RNG.normal(size=40), "b": RNG.normal(size=40)})
    table = table.assign(**{c: v for c, v in COLUMNS.items() if c in used})
    path = write(table, tmp_path / "t.csv")
    if named_by == "refused":
        with pytest.raises(InputError, match="is the column of labels as well"):
            read(path, **options)
        return
    expected = None if named_by is None else [str(value) for value in COLUMNS[named_by]]
    assert named_rows(path, **options) == expected
    data = read(path, **options)
    assert (f"rows are named by {named_by!r}" in data.notes) == (named_by is not None)
    # Names are no part of what identifies the data of a run.
    bare = write(table.drop(columns=[c for c in dropped if c != "n"]), tmp_path / "bare.csv")
    if "columns" not in options:
        assert read(bare, label=options.get("label", "")).fingerprint == data.fingerprint


def test_the_index_of_a_parquet_file_names_its_rows(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": RNG.normal(size=40), "b": RNG.normal(size=40), "n": range(40)})
    table.set_index(pd.Index([f"r{i}" for i in range(40)], name="who")).to_parquet(tmp_path / "t.parquet")
    assert named_rows(tmp_path / "t.parquet", drop=["n"]) == [f"r{i}" for i in range(40)]


STRAY = {
    "a total": ("a,b,c\n", "Total,4,5\n", r"line 22 \('Total', '4', '5'\) is no row of values"),
    "a total with gaps": ("a,b,c\n", "Sum:,,5\n", r"line 22 \('Sum:', '', '5'\) is no row of values"),
    "units": ("a,b,c\ncm,kg,s\n", "", r"line 2 \('cm', 'kg', 's'\) is no row of values"),
    "units with a gap": ("a,b,c\ncm,,s\n", "", r"line 2 \('cm', '', 's'\) is no row of values"),
    "units and a total": ("a,b,c\ncm,kg,s\n", "mean,4,5\n", r"line 2 .*, line 23 .* are no rows of values"),
    "a second header": ("a,b,c\n", "a,b,c\n1.5,2,3\n", r"line 22 \('a', 'b', 'c'\) is no row of values"),
}


@pytest.mark.parametrize("case", STRAY)
@pytest.mark.parametrize("sign", [",", ";"])
def test_a_row_of_units_or_sums_is_named(tmp_path: Path, case: str, sign: str) -> None:
    above, below, message = STRAY[case]
    rows = written(RNG.normal(size=(20, 3)).round(2).tolist(), sign=",")
    text = (above + rows + below).replace(",", sign)
    with pytest.raises(InputError, match=f"{message}.*; remove (it|them) from the file$"):
        text_table(tmp_path, text)


def test_a_single_wrong_cell_is_no_row_of_units(tmp_path: Path) -> None:
    rows = written(RNG.normal(size=(20, 3)).round(2).tolist(), ("a", "b", "c"))
    with pytest.raises(InputError, match=r"not numbers in column 'a' \('oops' in line 22\)"):
        text_table(tmp_path, rows + "oops,1,2\n")


@pytest.mark.parametrize("options", [{"drop": ["who"]}, {"label": "who"}])
def test_a_last_row_that_sums_up_is_no_item(tmp_path: Path, options: dict[str, object]) -> None:
    table = pd.DataFrame(RNG.normal(3, 1, size=(20, 2)), columns=["a", "b"])
    table.insert(0, "who", ["x", "y"] * 10)
    for name, row in (("Total", table[["a", "b"]].sum()), ("mean", table[["a", "b"]].mean())):
        path = write(pd.concat([table, pd.DataFrame([{"who": name, **row}])]), tmp_path / "t.csv")
        with pytest.raises(InputError, match=rf"line 22 \('{name}'\) sums up the rows above it; remove it"):
            read(path, **options)
    with pytest.raises(InputError, match=r"line 22 \('Total'\) sums up"):
        text_table(tmp_path, table.to_csv(index=False) + "Total,,60\n", **options)
    odd = text_table(tmp_path, table.to_csv(index=False) + "Total,1.5,2\n", **options)
    assert any("line 22 ('Total') is read as a row of values; remove it" in note for note in odd.notes)
    with_class = table.assign(who=["mean", "total"] * 10)
    assert not any(
        "remove it" in note for note in read(write(with_class, tmp_path / "u.csv"), **options).notes
    )
