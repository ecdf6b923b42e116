"""Numbers, lists and tables as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from latlas import text
from latlas.errors import InputError, unknown
from latlas.text import (
    Cell,
    aligned,
    clauses,
    count,
    counted,
    csv_cell,
    duration,
    error,
    listed,
    printable,
    rounded,
    sentence,
    setting,
    transposed,
    visible,
)


@pytest.mark.parametrize(
    ("number", "noun", "shown"),
    [(1, "row", "1 row"), (0, "row", "0 rows"), (1200, "class", "1,200 classes"), (2.5, "epoch", "2.5 epochs"),
     (1.0, "epoch", "1 epoch"), (4.0, "epoch", "4 epochs"), (2, "training item", "2 training items")],
)  # fmt: skip
def test_one_thing_is_no_things(number: float, noun: str, shown: str) -> None:
    assert counted(number, noun) == shown


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (1234.5, 1, "1,234.5"), (-0.5, 2, "−0.50"), (-0.001, 2, "0.00"), (7, 0, "7"), (None, 3, "–"), ("x", 3, "–"),
    ],
)  # fmt: skip
def test_numbers_have_their_decimals_and_a_true_minus(value: object, decimals: int, shown: str) -> None:
    assert rounded(value, decimals) == shown


def test_uncertainties_and_counts_have_no_more_digits_than_they_need() -> None:
    assert [error(v) for v in (0.014, 0.994, 1.25, 31)] == ["0.01", "0.99", "1.2", "31.0"]
    assert [count(v) for v in (None, 5.0, 2.5, 1335602)] == [None, "5", "2.5", "1,335,602"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, None), (0.04, "0.0 s"), (59.4, "59.4 s"), (59.6, "1 min 0 s"), (139.2, "2 min 19 s"), (7384, "2 h 3 min")],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float | None, shown: str | None) -> None:
    assert duration(seconds) == shown


def test_settings_read_as_words() -> None:
    values = (None, "", [], [512, 256], True, False, 0.1 + 0.2, 1e-5, 3, "adam")
    shown = ["–", "–", "–", "512, 256", "yes", "no", "0.3", "1e-05", "3", "adam"]
    assert [setting(value) for value in values] == shown


def test_lists_are_sentences_and_long_ones_are_cut() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdef")) == "a, b, c, d, e and f"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 others"
    assert [sentence(words) for words in ("few draws", "Few.")] == ["Few draws.", "Few."]


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    assert aligned([["name", "n"], ["a", "10"]], right=(1,)) == "name   n\na     10"
    assert transposed([[Cell("a"), Cell("b")], [Cell("c"), Cell("d")]])[0] == [Cell("a"), Cell("c")]
    assert [str(cell) for cell in (Cell("1.0", "± 0.1"), Cell("1.0", style="best"))] == ["1.0 ± 0.1", "1.0"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name", "plain name"),
        (
            "caf\u00e9 \u4e2d\u6587 \u0645\u06cc\u200c\u062e",
            "caf\u00e9 \u4e2d\u6587 \u0645\u06cc\u200c\u062e",
        ),
        ("br\udce9ken", r"br\xe9ken"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
        (3, "3"),
    ],
)
def test_names_are_printable(name: object, shown: str) -> None:
    assert printable(name) == shown
    assert printable(shown) == shown
    shown.encode()


def test_errors_are_one_printable_line() -> None:
    error = InputError("a\nb: \x1b[31m \udce9", field="out", value="x\ny")
    assert str(error) == r"out = x\ny: a\nb: \x1b[31m \xe9"
    assert error.message == r"a\nb: \x1b[31m \xe9"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("knn_acuracy", "did you mean 'knn_accuracy'?"),
        ("knn", "did you mean 'knn_accuracy'?"),
        ("entropy", "(known: "),
    ],
)
def test_an_unknown_name_meets_the_nearest_one_or_all(name: str, hint: str) -> None:
    known = ["knn_accuracy", *(f"number_{i}" for i in range(60))]
    line = str(unknown("measure", name, known))
    assert line.startswith(f"unknown measure {name!r}")
    assert hint in line
    assert ("number_59" in line) == ("did you mean" not in line)


FORMULAS = [
    "=1+1",
    "+cmd|'calc'!A1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "-",
    "=",
    "-inf",
    "+nan",
]
HARMLESS = [
    "",
    "cat",
    "a=b",
    "-1.5",
    "+3",
    "-.5",
    "-1e-05",
    "1.",
    " =1",
    "'=1",
    -1.5,
    -3,
    None,
    True,
    float("-inf"),
]


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_text_that_is_a_formula_is_none_in_a_csv_file(cell: str) -> None:
    assert csv_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("value", HARMLESS)
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) is value


def test_a_row_of_a_table_is_a_line_whatever_its_cells_hold() -> None:
    assert aligned([["a\nb", "1"], ["\x1b[31mc", "22"]], right=(1,)) == "a\\nb        1\n\\x1b[31mc  22"


def test_a_page_shows_what_is_unseen() -> None:
    assert visible("a\n\tb \u202egnp\x1b[0m\x00\udce9\u2066 é \u200d") == (
        "a\n\tb \\u202egnp\\x1b[0m\\x00\\xe9\\u2066 é \u200d"
    )


def test_the_explorer_saves_the_same_cells() -> None:
    page = (Path(text.__file__).parent / "explorer" / "page" / "take.js").read_text(encoding="utf-8")
    assert f"/^{text._FORMULA.pattern}/.test(text)" in page
    assert f"/^{text._NUMBER.pattern}$/.test(text)" in page


def test_of_many_reasons_the_first_are_said() -> None:
    assert clauses(["a", "b"]) == "a; b"
    assert clauses(["a" * 5, "b" * 5, "c" * 5], room=12) == "aaaaa; bbbbb; and 1 more"
    assert clauses(["a" * 50, "b"], room=12) == "a" * 50 + "; and 1 more"
    assert len(clauses(["x" * 90] * 50_000)) < 1300
