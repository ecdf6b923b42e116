"""Differences within the spread: exact numbers of made-up rows, then tiny runs."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from helpers import images
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, ttest_1samp, ttest_ind, ttest_ind_from_stats
from test_report import Page

from latlas import compare, experiment
from latlas.api import learning
from latlas.compare import Column, Comparison, Entry
from latlas.compare.significance import Estimate, standard_error, variation_that_covers
from latlas.data import Scaling
from latlas.errors import InputError
from latlas.runs import Run
from latlas.studies import results

COLUMNS = (Column("elbo", "ELBO", "nats per image", 2, "higher"), Column("mse", "MSE", "", 5, "lower"))
COLUMNS += (Column("rate", "Rate", "nats per image", 2, ""),)


def row(name: str, elbo: float | None, seeds: int = 1, spread: float | None = None, **more: Any) -> Entry:
    """A row whose error is the ELBO's hundredth with the sign turned: the same order by both."""
    mse = None if elbo is None else -elbo / 100
    known = {} if spread is None else {"elbo": spread, "mse": spread / 100, "rate": spread}
    runs = tuple(f"runs/{name}{k}" for k in range(seeds))
    values: dict[str, Any] = {"elbo": elbo, "mse": mse, "rate": 5.0}
    rest = {"scale": "density", "spread": known, "runs": runs} | more
    return Entry(name, values, "aa" * 32, "ramps", scaling=Scaling(), **rest)


def table(*entries: Entry) -> Comparison:
    return Comparison("ramps", "nats per image", entries, COLUMNS)


def pca(value: float, **more: Any) -> Entry:
    values: dict[str, Any] = {"mse": value}
    return replace(row("PCA", None, seeds=0, scale=""), values=values, **more)


# The yardstick


@given(
    one=st.lists(st.floats(-5, 5), min_size=2, max_size=6),
    other=st.lists(st.floats(-5, 5), min_size=2, max_size=6),
)
def test_two_rows_of_several_seeds_are_told_apart_by_welchs_t(one: list[float], other: list[float]) -> None:
    if stdev(one) < 1e-3 or stdev(other) < 1e-3:
        return
    estimates = [Estimate(mean(numbers), len(numbers), stdev(numbers)) for numbers in (one, other)]
    p = ttest_ind(one, other, equal_var=False).pvalue
    assert abs(p - 0.05) < 1e-6 or variation_that_covers(*estimates) == variation_that_covers(
        *estimates[::-1]
    ) == ("seeds" if p > 0.05 else None)


def test_the_standard_error_of_a_difference_by_hand() -> None:
    # Equal spreads 2 of 3 and 3: sqrt(4/3 + 4/3), 4 degrees of freedom.
    three = Estimate(0.0, 3, 2.0)
    source, error, degrees = standard_error(three, Estimate(1.0, 3, 2.0)) or ("", 0, 0)
    assert (source, error, degrees) == ("seeds", pytest.approx(math.sqrt(8 / 3)), pytest.approx(4))
    # Spreads 3 of 9 and 4 of 4: variances 1 and 4; 25 / (1/8 + 16/3).
    source, error, degrees = standard_error(Estimate(0.0, 9, 3.0), Estimate(1.0, 4, 4.0)) or ("", 0, 0)
    assert (source, error, degrees) == ("seeds", pytest.approx(5**0.5), pytest.approx(25 / (1 / 8 + 16 / 3)))
    single, fixed = Estimate(1.0, stderr=9.0), Estimate(1.0, 0, fixed=True)
    assert standard_error(three, single) == ("seed", pytest.approx(2 * math.sqrt(4 / 3)), 2)
    assert standard_error(fixed, three) == ("seed", pytest.approx(2 / math.sqrt(3)), 2)
    assert standard_error(Estimate(0, stderr=3.0), Estimate(0, stderr=4.0)) == ("items", 5.0, math.inf)
    assert standard_error(single, fixed) is standard_error(single, Estimate(0.0)) is None


@pytest.mark.parametrize("sign", [-1, 1])
def test_where_the_line_is_drawn(sign: int) -> None:
    """A hair inside of it and a hair outside, at the published two-sided 5 % points of t: 2.776 (4), 4.303 (2)."""
    cases = [
        (Estimate(0.0, 3, 2.0), Estimate(0.0, 3, 2.0), 2.776445 * math.sqrt(8 / 3)),
        (Estimate(0.0, 3, 2.0), Estimate(0.0), 4.302653 * 2 * math.sqrt(4 / 3)),
        (Estimate(0.0, 3, 2.0), Estimate(0.0, 0, fixed=True), 4.302653 * 2 / math.sqrt(3)),
        (Estimate(0.0, stderr=3.0), Estimate(0.0, stderr=4.0), 1.959964 * 5),
    ]  # fmt: skip
    for one, other, line in cases:
        assert variation_that_covers(one, replace(other, value=sign * line * 0.9999)) is not None
        assert variation_that_covers(one, replace(other, value=sign * line * 1.0001)) is None


def test_the_rule_agrees_with_scipys_tests_of_one_more_draw_and_of_a_fixed_number() -> None:
    seeds = [1.0, 2.0, 4.0, 4.5]
    for value in np.linspace(-6, 12, 37):
        several = Estimate(mean(seeds), 4, stdev(seeds))
        draw = ttest_ind_from_stats(mean(seeds), stdev(seeds), 4, value, 0, 1).pvalue
        assert (variation_that_covers(several, Estimate(value)) == "seed") == (draw > 0.05)
        known = ttest_1samp(seeds, value).pvalue
        assert (variation_that_covers(Estimate(value, fixed=True), several) == "seed") == (known > 0.05)
        items = 2 * norm.sf(abs(value) / math.hypot(1.5, 2))
        assert (variation_that_covers(Estimate(0, stderr=1.5), Estimate(value, stderr=2)) == "items") == (
            items > 0.05
        )


def test_seeds_that_all_give_one_number_leave_only_a_tie() -> None:
    still = Estimate(1.0, 2, 0.0)
    assert variation_that_covers(still, still) == "seeds"
    assert variation_that_covers(still, Estimate(1.0 + 1e-9, 2, 0.0)) is None
    assert variation_that_covers(still, Estimate(1.0 + 1e-9)) is None
    assert standard_error(still, Estimate(2.0, 3, 1.0)) == ("seeds", pytest.approx(3**-0.5), pytest.approx(2))


# The table


def test_a_clear_difference_is_not_marked_and_a_small_one_is() -> None:
    best, near, far = row("best", -90, 3, 1.0), row("near", -91.5, 3, 1.0), row("far", -95, 3, 1.0)
    told = table(far, near, best)
    for key in ("elbo", "mse"):
        assert told.best(key) == {"best"}
        assert told.within(key) == {"near"}
    assert told.within("rate") == told.within("unknown") == set(), "neither end is better"
    assert told.variations == ["seeds"]
    assert table(best).within("elbo") == set(), "nothing to compare with"


def test_two_seeds_tell_less_than_ten() -> None:
    assert table(row("a", -90, 2, 1.0), row("b", -93, 2, 1.0)).within("elbo") == {"b"}
    assert table(row("a", -90, 10, 1.0), row("b", -93, 10, 1.0)).within("elbo") == set()


def test_what_is_shown_as_equal_to_the_best_is_best_and_not_within() -> None:
    told = table(row("a", -90, 3, 1.0), row("b", -90.004, 3, 1.0), row("c", -90.3, 3, 1.0))
    assert (told.best("elbo"), told.within("elbo")) == ({"a", "b"}, {"c"})


def test_single_runs_are_told_apart_by_their_errors_over_test_items() -> None:
    a, b, c = (row(n, e, stderrs={"elbo": 0.4}) for n, e in (("a", -90), ("b", -91), ("c", -91.2)))
    told = table(a, b, c)
    assert told.within("elbo") == {"b"}, "1 / 0.566 = 1.77 < 1.96 < 1.2 / 0.566"
    assert told.within("mse") == set(), "without a standard error nothing is known to tell by"
    assert told.variations == ["items"]
    errors = {"elbo": 0.4, "mse": 0.004}
    assert table(replace(a, stderrs=errors), replace(b, stderrs=errors)).within("mse") == {"b"}
    assert table(replace(a, stderrs={}), b).within("elbo") == set(), "one of the two is not enough"


def test_one_seed_beside_several_is_one_more_draw_of_their_spread() -> None:
    several = row("several", -90, 3, 1.0)
    near, far = row("near", -94.9, stderrs={"elbo": 0.01}), row("far", -95.0, stderrs={"elbo": 9.0})
    told = table(several, near, far)
    assert told.within("elbo") == {"near"}, (
        "4.303 * sqrt(1 + 1/3) = 4.968; errors over items say nothing of seeds"
    )
    assert told.variations == ["seed"]
    assert table(row("one", -89), several).within("elbo") == {"several"}


def test_pca_has_no_seeds() -> None:
    single = row("vae", -1.0)
    assert table(single, pca(0.01)).best("mse") == {"vae", "PCA"}, "an exact tie"
    for value in (0.01002, 0.00998):
        assert table(single, pca(value)).within("mse") == set(), "nothing is known to tell by"
    # Mean 0.01, spread 0.001 of 3: told from a fixed number beyond 4.303 * 0.001 / sqrt(3) = 0.00248.
    seeds = row("vae", -1.0, 3, 0.1)
    assert table(seeds, pca(0.0124)).within("mse") == {"PCA"}
    assert table(seeds, pca(0.0126)).within("mse") == set()
    assert table(seeds, pca(0.0076)).within("mse") == {"vae"}
    assert table(seeds, pca(0.0124)).within("elbo") == set()
    trained = replace(single, settings={"training.method": "pca"}, values={"mse": 0.0126})
    assert table(replace(seeds, name="b"), trained).within("mse") == set(), "a run of recipe pca is as fixed"


def test_rows_without_the_number_or_of_other_groups_get_no_mark() -> None:
    a, none, nan = row("a", -90, 3, 1.0), row("none", None, 3, 1.0), row("nan", math.nan, 3, 1.0)
    other = row("other", -90.5, 3, 1.0, scale="cross-entropy")
    told = table(nan, a, none, other)
    assert told.within("elbo") == told.best("elbo") == set()
    assert told.within("mse") == {"other"}, "errors compare where likelihoods do not"
    assert table(nan, a, row("b", -90.5, 3, 1.0)).within("elbo") == {"b"}
    with pytest.raises(LookupError, match="none has no number elbo"):
        none.estimate("elbo")


# What people read

ROWS = row("best", -90, 3, 1.0), row("near", -91.5, 3, 1.0), row("far", -99, 3, 1.0)


def test_the_text_table_marks_both_and_has_one_line_on_each() -> None:
    lines = compare.text_table(table(*ROWS)).splitlines()
    cells = [re.split(r"\s{2,}", line) for line in lines[:4]]
    assert cells[1] == ["best (3 seeds)", "−90.00 ± 1.0 *", "0.90000 ± 0.01000 *", "5.00 ± 1.0"]
    assert cells[2] == ["near (3 seeds)", "−91.50 ± 1.0 ≈", "0.91500 ± 0.01000 ≈", "5.00 ± 1.0"]
    assert cells[3] == ["far (3 seeds)", "−99.00 ± 1.0", "0.99000 ± 0.01000", "5.00 ± 1.0"]
    assert lines[4:] == [
        "* the best of those that compare",
        "≈ not distinguishable from the best: the difference is within the spread over seeds (Welch's t, 5 %)",
    ]
    assert "≈" not in compare.text_table(table(ROWS[0], ROWS[2]))
    mixed = table(*ROWS, row("one", -92, stderrs={"elbo": 0.4}))
    assert "(Welch's t, 5 %) or the spread over seeds of one of the two, the other" in compare.text_table(
        mixed
    )
    single = [row(name, elbo, stderrs={"elbo": 0.4}) for name, elbo in (("a", -90), ("b", -90.5))]
    text = compare.text_table(table(*single))
    assert "is within the standard error over test items (5 %), which says nothing of other seeds" in text
    assert "seeds)" not in text


def test_plain_values_say_what_each_row_is_within_the_spread_in() -> None:
    told = compare.to_dict(table(*ROWS, row("one", -95, stderrs={"elbo": 0.4})))
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert [e["within"] for e in told["entries"]] == [[], ["elbo", "mse"], [], []]
    assert [e["best"] for e in told["entries"]] == [["elbo", "mse"], [], [], []]
    assert [e["stderrs"] for e in told["entries"]] == [{}, {}, {}, {"elbo": 0.4}]


@pytest.mark.parametrize("upright", [False, True])
def test_the_page_marks_both_and_has_a_legend(upright: bool) -> None:
    wide = tuple(Column(f"more{i}", f"More {i}", "", 1, "") for i in range(9)) if upright else ()
    told = replace(table(*ROWS), columns=COLUMNS + wide)
    assert told.upright == upright
    html = compare.page([told], "Seeds")
    cells = re.findall(r'<td class="([^"]*)">(.*?)</td>', html[: html.index("</table>")])
    numbers = {re.sub(r"<.*?>", "", text): kind for kind, text in cells}
    assert numbers["−90.00 (best) ± 1.0"] == "value best"
    assert numbers["−91.50 (not distinguishable from the best) ± 1.0"] == "value within"
    assert numbers["−99.00 ± 1.0"] == numbers["5.00 ± 1.0"] == "value"
    text = Page(html).text
    assert (
        "not distinguishable from the best: the difference is within the spread over seeds (Welch's t" in text
    )
    assert "Highest test ELBO: best, −90.00 nats per image; not distinguishable from it: near." in text
    assert "3 seeds" in text
    plain = compare.page([table(ROWS[0], ROWS[2])], "Seeds")
    assert 'class="value within"' not in plain
    assert "the difference is within" not in plain


# Real runs


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of two seeds each, one of them hardly trained: errors far apart, likelihoods not."""
    folder = tmp_path_factory.mktemp("within")
    np.savez(folder / "ramps.npz", x=images(240))
    quick = {"network.hidden": [16], "model.latent": 2, "pictures.draw": False, "training.threads": 1}
    for name, steps in (("long", 150), ("short", 2)):
        for seed in (0, 1):
            settings = quick | {"optimizer.lr": 0.02, "training.steps": steps, "seed": seed}
            config = learning.configure(str(folder / "ramps.npz"), "vae", None, settings)
            experiment.train(config, folder / f"{name}{seed}")
    return folder


def of(work: Path, *names: str) -> list[Run]:
    return [Run(work / name) for name in names]


def test_runs_of_two_seeds_are_marked_by_their_own_numbers(work: Path) -> None:
    groups = {name: of(work, f"{name}0", f"{name}1") for name in ("long", "short")}
    told = compare.gather(groups, pca=False, pictures=False)
    for key in ("elbo", "mse"):
        long, short = ([r.metrics["splits"]["test"][key] for r in runs] for runs in groups.values())
        p = ttest_ind(long, short, equal_var=False).pvalue
        assert (p > 0.05) == (key == "elbo"), "two seeds do not tell these ELBOs apart"
        assert (told.best(key), told.within(key)) == ({"long"}, {"short"} if p > 0.05 else set())
    csv_rows = list(csv.DictReader(results.table({"ramps": compare.to_dict(told)}).splitlines()))
    text, page = compare.text_table(told), Page(compare.page([told], "Seeds")).text
    for entry, line in zip(told.entries, csv_rows, strict=True):
        assert (line["name"], line["runs"], entry.seeds) == (entry.name, "2", 2)
        assert float(line["elbo_sd"]) == entry.spread["elbo"] > 0
        assert f"{entry.name} (2 seeds)" in text
        value, spread = (f"{number:.2f}" for number in (entry.values["elbo"], entry.spread["elbo"]))
        value = value.replace("-", "−")
        assert f"{value} ± {spread}" in text
        assert re.search(rf"{value}( \(.*?\))? ± {spread}", page)
    assert page.count("vae · bernoulli · 2 seeds") == 2


def test_single_runs_take_the_standard_errors_that_they_wrote(work: Path) -> None:
    told = compare.gather({n: of(work, n) for n in ("long0", "short0")}, pca=False, pictures=False)
    for entry in told.runs:
        assert entry.stderrs["elbo"] == Run(work / entry.name).metrics["splits"]["test"]["elbo_stderr"] > 0
    assert told.within("elbo") == {"short0"}
    assert told.variations == ["items"]


def test_a_row_takes_each_seed_once(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "short0", tmp_path / "copy")
    runs = [*of(work, "short1", "short0"), Run(tmp_path / "copy")]
    with pytest.raises(
        InputError, match=r"both: 2 runs have the seed 0; the spread over seeds needs each once"
    ):
        compare.gather({"both": runs}, pca=False, pictures=False)
