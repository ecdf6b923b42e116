"""Runs side by side: numbers as the runs wrote them, ranked only where they can be, on a page that stands alone."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import image_dataset
from PIL import Image
from sklearn.decomposition import PCA
from test_report import Page

import latlas
from latlas import cli, compare, experiment, figures
from latlas.api import learning
from latlas.compare import Column, Comparison, Entry, Picture
from latlas.data import Scaling
from latlas.errors import InputError
from latlas.gallery import FIGURES
from latlas.runs import Run, dataset_of

COLUMNS = (
    Column("elbo", "ELBO", "nats per image", 2, "higher", "Evidence lower bound."),
    Column("distortion", "Distortion", "nats per image", 2, "lower"),
    Column("rate", "Rate", "nats per image", 2, ""),
    Column("mse", "Mean squared error", "", 5, "lower"),
    Column("purity", "Purity <of> codes", "", 3, "higher"),
)


def entry(
    name: str,
    scale: str = "density",
    elbo: float | None = -100.0,
    mse: float = 0.1,
    data: str = "aa" * 32,
    **more: Any,
) -> Entry:
    """A row with an ELBO, or none, of which 5 nats are rate."""
    values: dict[str, Any] = {"elbo": elbo, "distortion": 50.0 if elbo is None else -5 - elbo, "mse": mse}
    likelihood = "Bernoulli" if scale in ("probability", "cross-entropy") else "Gaussian"
    values |= {"rate": None if elbo is None else 5.0, "purity": more.pop("purity", None)}
    rest = {
        "data_name": "ramps",
        "scaling": Scaling(),
        "runs": (f"runs/{name}",),
        "likelihood": likelihood,
    } | more
    return Entry(name, values, data, scale=scale, **rest)


def compared(*entries: Entry) -> Comparison:
    return Comparison("ramps", "nats per image", entries, COLUMNS)


def best(*entries: Entry) -> dict[str, set[str]]:
    return {column.key: compared(*entries).best(column.key) for column in COLUMNS}


def test_the_best_of_each_column_is_marked_where_a_column_has_a_better_end() -> None:
    rows = entry("a", elbo=-90, mse=0.3, purity=0.5), entry("b", elbo=-80, mse=0.3), entry("c", purity=0.7)
    assert best(*rows) == {"elbo": {"b"}, "distortion": {"b"}, "rate": set(), "mse": {"c"}, "purity": {"c"}}
    assert best(rows[0], entry("b", mse=0.3000001))["mse"] == {"a", "b"}, "shown as equal, they are"
    assert compared(*rows).reasons == []
    assert best(entry("alone")) == {key: set() for key in best(entry("alone"))}


def test_a_cross_entropy_ranks_only_among_its_like() -> None:
    rows = (
        entry("a", "cross-entropy", -250),
        entry("b", "cross-entropy", -240),
        entry("c", "density", 900),
        entry("d", mse=0.01),
    )
    assert best(*rows)["elbo"] == {"b", "c"}
    assert best(*rows[:3])["elbo"] == {"b"}, "the higher number of the third is on another scale"
    assert best(*rows)["distortion"] == {"b", "c"}
    assert best(*rows)["mse"] == {"d"}
    (reason,) = compared(*rows).reasons
    for said in (
        "a and b (Bernoulli on grey values",
        "c and d (Gaussian, a density)",
        "the mean squared error does",
    ):
        assert said in reason


def test_a_probability_of_0_1_data_never_meets_a_density() -> None:
    rows = entry("a", "probability", -80), entry("b", "density", -60)
    assert best(*rows)["elbo"] == best(*rows)["distortion"] == set()
    said = "a (Bernoulli, a probability of the stored values) and b (Gaussian, a density)"
    assert said in compared(*rows).reasons[0]


def test_a_point_posterior_has_no_elbo_to_rank() -> None:
    rows = entry("vae"), entry("ae", elbo=None), entry("other", elbo=-101)
    assert best(*rows)["elbo"] == {"vae"}
    assert best(*rows)["distortion"] == {"vae"}, "the autoencoder's pays for no rate"
    assert compared(*rows).reasons == [
        "ae has no ELBO and no rate: the posterior is a point, which has no density; a distortion ranks only beside"
        " others without a rate."
    ]
    assert compared(rows[1], replace(rows[1], name="ae2")).reasons == [], (
        "where none has an ELBO nothing is left out"
    )


def test_other_data_rank_nothing_and_the_reason_names_the_runs() -> None:
    rows = entry("a"), entry("b", data="bb" * 32, data_name="digits", elbo=-1)
    assert set().union(*best(*rows).values()) == set()
    assert compared(*rows).reasons == [
        "The data are not the same for a (ramps) and b (digits): nothing is ranked."
    ]
    three = compared(*rows, entry("c", elbo=-90))
    assert three.best("elbo") == {"c"}
    assert three.reasons == [
        "The data are not the same for a and c (ramps) and b (digits): nothing is ranked between them."
    ]
    twins = compared(rows[0], entry("b", data="bb" * 32))
    assert "a (ramps, content aaaaaaaa) and b (ramps, content bbbbbbbb)" in twins.reasons[0]


def test_data_scaled_otherwise_rank_neither_errors_nor_likelihoods() -> None:
    rows = entry("a"), entry("b", scaling=Scaling("minmax", (0.0,), (2.0,)), mse=0.01)
    assert set().union(*best(*rows).values()) == set()
    assert "scaled differently for a and b" in compared(*rows).reasons[0]


def test_plain_values_say_what_compares() -> None:
    told = compare.to_dict(
        compared(entry("a", "cross-entropy", -250), entry("b"), entry("PCA", "", None, runs=()))
    )
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert not told["comparable"]
    assert told["groups"]["elbo"] == [["a"], ["b"]]
    assert told["groups"]["mse"] == [["a", "b", "PCA"]]
    assert told["entries"][0]["best"] == ["mse"]
    assert len(told["reasons"]) == 1
    assert compare.to_dict(compared(entry("a"), entry("b")))["comparable"]


def test_norms_and_distances_of_codes_rank_among_equal_sizes_drawn_to_a_prior() -> None:
    def of(name: str, latent: int, norm: float, **more: Any) -> Entry:
        row = entry(name, **more)
        return replace(row, values=row.values | {"latent": latent, "mean_code_norm": norm, "mmd_prior": norm})

    plain = {"elbo": None, "settings": {"objective.name": "reconstruction"}}
    rows = of("a", 2, 0.1), of("b", 2, 0.2), of("c", 16, 0.3), of("ae", 2, 0.01, **plain)
    infovae = of("d", 2, 0.05, elbo=None, settings={"objective.name": "infovae"})
    table = compared(*rows, infovae)
    for key in ("mean_code_norm", "mmd_prior"):
        groups = [[e.name for e in group] for group in table.groups(key)]
        assert groups == [["a", "b", "d"], ["c"], ["ae"]]
    assert any("rank among equal sizes" in reason for reason in table.reasons)
    assert not any("equal sizes" in reason for reason in compared(*rows[:2]).reasons)


def test_the_text_table_marks_the_best_and_says_what_is_not_ranked() -> None:
    rows = (
        entry("a", stderrs={"elbo": 0.42}),
        replace(entry("b", elbo=-90), spread={"elbo": 1.25, "mse": 0.002}),
    )
    lines = compare.text_table(compared(*rows, entry("c", "cross-entropy"))).splitlines()
    assert "−100.00 ± 0.42 " in lines[1]
    assert "*" not in lines[1].split("−100.00")[1].split("95.00")[0]
    assert "−90.00 ± 1.2 *" in lines[2]
    assert "± 0.00200" in lines[2]
    assert any(
        line.startswith("not ranked: ELBO, distortion and rate do not compare between") for line in lines
    )


def test_bold_is_the_best_only_beyond_its_noise() -> None:
    def clear(*rows: Entry, key: str = "elbo") -> set[str]:
        return compared(*rows).clearly_best(key)

    sure = entry("a", elbo=-100, stderrs={"elbo": 0.4}), entry("b", elbo=-90, stderrs={"elbo": 0.4})
    assert clear(*sure) == {"b"}
    assert clear(*sure, entry("c", elbo=-90.5, stderrs={"elbo": 0.4})) == set(), "one within the noise of it"
    assert clear(*sure, entry("c", elbo=-95)) == set(), "one whose noise is not known"
    assert clear(*sure, entry("c", "probability", elbo=-80, stderrs={"elbo": 0.4})) == {"b"}, (
        "alone in its group"
    )
    assert clear(sure[0], replace(sure[0], name="c")) == set()
    assert clear(*sure, key="rate") == clear(sure[0]) == set()
    several = [replace(e, runs=("one", "two", "three"), spread={"elbo": 1.0}, stderrs={}) for e in sure]
    assert clear(*several) == {"b"}
    assert clear(*(replace(e, spread={"elbo": 20.0}) for e in several)) == set()
    assert clear(*several) <= compared(*several).best("elbo")


def test_latex_escapes_names_and_says_what_it_needs() -> None:
    rows = entry("50 %_a&b\\{#}~^$", stderrs={"elbo": 0.4}), entry("b", elbo=-1090, stderrs={"elbo": 0.4})
    latex = compared(*rows, entry("PCA\nx", "", None, runs=())).to_latex()
    head, _, body = latex.partition(r"\begin{tabular}")
    assert all(line.startswith("% ") for line in head.splitlines())
    assert r"\usepackage{booktabs}" in head
    lines = body.splitlines()
    assert lines[0] == "{lrrrrr}"
    assert lines[1:4:2] == [
        r"\toprule",
        " & (nats per image) & (nats per image) & (nats per image) &  &  \\\\",
    ]
    assert lines[2].startswith(r" & ELBO $\uparrow$ & Distortion $\downarrow$ & Rate & Mean squared error")
    assert lines[5] == (
        r"50 \%\_a\&b\textbackslash{}\{\#\}\textasciitilde{}\textasciicircum{}\$"
        r" & $\mathbf{-100.00} \pm 0.40$ & $95.00$ & $5.00$ & $0.10000$ & -- \\"
    )
    assert lines[6].startswith(r"b & $-1{,}090.00 \pm 0.40$ & $1{,}085.00$")
    assert lines[7].startswith(r"PCA\textbackslash{}nx & -- & ")
    assert lines[8:] == [r"\bottomrule", r"\end{tabular}"]
    chosen = compared(*rows).to_latex(["mse", "elbo"]).splitlines()
    assert any(line.startswith(r" & Mean squared error $\downarrow$ & ELBO $\uparrow$ ") for line in chosen)
    with pytest.raises(InputError, match=r"unknown column 'elb'; did you mean 'elbo'"):
        compared(*rows).to_latex("elb")


def test_names_that_are_formulas_are_texts_in_csv_and_rows_in_latex() -> None:
    table = compared(entry("=1+1"), entry("[b]*", elbo=-90.0))
    rows = list(csv.reader(io.StringIO(compare.to_csv(table))))
    name, elbo = rows[0].index("name"), rows[0].index("elbo")
    assert [row[name] for row in rows[1:]] == ["'=1+1", "[b]*"]
    assert [row[elbo] for row in rows[1:]] == ["-100.0", "-90.0"]
    assert r"{[}b]{*} & " in table.to_latex()


def test_latex_of_few_models_stands_upright() -> None:
    more = tuple(Column(f"more{i}", f"More {i}", "s_1", 1, "") for i in range(6))
    lines = replace(compared(entry("one"), entry("two")), columns=COLUMNS + more).to_latex().splitlines()
    start = lines.index(r"\begin{tabular}{lrr}")
    assert lines[start + 2] == r" & one & two \\"
    assert lines[start + 4].startswith(r"ELBO $\uparrow$ (nats per image) & $-100.00$ & ")
    assert lines[start + 9] == r"More 0 (s\_1) & -- & -- \\"


def test_rows_are_a_frame_and_a_csv_file() -> None:
    rows = (
        entry("a,b", stderrs={"elbo": 0.4}),
        entry("c", elbo=-90, stderrs={"elbo": 0.4}),
        entry("PCA", "", None, runs=()),
    )
    table = compared(*rows)
    frame = table.to_frame()
    assert frame["name"].tolist() == ["a,b", "c", "PCA"]
    assert frame["elbo"].tolist()[:2] == [-100.0, -90.0]
    assert np.isnan(frame["elbo"][2])
    assert frame["elbo_stderr"].tolist()[:2] == [0.4, 0.4]
    assert frame["runs"].tolist() == [1, 1, 0]
    assert frame["best"].tolist() == ["mse", "elbo, distortion, mse", "mse"]
    read = pd.read_csv(io.StringIO(compare.to_csv(table)), keep_default_na=False, na_values={"elbo": ""})
    assert read.columns.tolist() == frame.columns.tolist()
    assert read["elbo"].tolist()[:2] == [-100.0, -90.0]
    assert "purity" not in frame, "no row has it"
    spread = compared(
        replace(rows[0], runs=("one", "two"), spread={"elbo": 1.0}, stderrs={}), rows[1]
    ).to_frame()
    assert spread["elbo_sd"].tolist()[0] == 1.0


def test_a_comparison_shows_itself() -> None:
    table = compared(entry("a <b>", stderrs={"elbo": 0.4}), entry("c", elbo=-99.9, stderrs={"elbo": 0.4}))
    assert repr(table) == compare.text_table(table)
    shown = table._repr_html_()
    assert "a &lt;b&gt;" in shown
    assert "<b>" not in shown
    assert 'class="value within"' in shown
    assert "standard error over test items" in shown
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import""", shown)


def test_few_models_with_many_numbers_stand_side_by_side() -> None:
    more = tuple(Column(f"more{i}", f"More {i}", "", 1, "") for i in range(5))
    rows = entry("one"), replace(entry("two <b>", elbo=-90), runs=())
    wide = replace(compared(*rows), columns=COLUMNS + more)
    lines = compare.text_table(wide).splitlines()
    assert lines[0].split() == ["one", "two", "<b>"]
    assert lines[1].split() == ["ELBO", "↑", "−100.00", "−90.00", "*"]
    assert lines[10].split() == ["More", "4", "–", "–"]
    html = compare.page([wide], "Wide")
    numbers = html[html.index("<table") : html.index("</table>")]
    across, *down = re.findall(r"<tr>.*?</tr>", numbers, re.S)
    assert re.findall(r">(one|two &lt;b&gt;)<", across) == ["one", "two &lt;b&gt;"]
    assert len(down) == 10
    assert ">ELBO ↑" in down[0]
    assert down[0].index("−100.00") < down[0].index("−90.00")
    long = replace(wide, entries=tuple(entry(str(i)) for i in range(10)))
    assert len(re.findall(r"<tr>", compare.page([long], "Long").partition("</table>")[0])) == 11


# What is trained, once for all tests below; 20 steps each.
TRAINED = {
    "v2": ("vae", {"model.latent": 2}),
    "v3": ("vae", {"model.latent": 3}),
    "v3-seed1": ("vae", {"model.latent": 3, "seed": 1}),
    "gauss": ("vae", {"model.latent": 2, "likelihood.name": "gaussian"}),
    "ae": ("ae", {"model.latent": 3}),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small runs on one array, one on another, and one on a table."""
    folder = tmp_path_factory.mktemp("compared")
    data = image_dataset(240)
    x, y = (
        np.concatenate([getattr(s, part) for s in (data.train, data.valid, data.test)])
        for part in ("x", "labels")
    )
    np.savez(folder / "ramps.npz", x=x, y=y)
    np.savez(folder / "others.npz", x=x[::-1], y=y)
    table = np.random.default_rng(0).normal(size=(100, 2)) @ [[1, 2, 0, 1], [0, 1, 3, 1]]
    (folder / "table.csv").write_text("\n".join(["a,b,c,d", *(",".join(map(str, row)) for row in table)]))
    jobs = [(name, "ramps.npz", *how) for name, how in TRAINED.items()]
    jobs += [
        ("other", "others.npz", "vae", {"model.latent": 2}),
        ("rows", "table.csv", "vae", {"model.latent": 2}),
    ]
    for name, source, recipe, settings in jobs:
        quick = {"network.hidden": [16], "training.steps": 20, "pictures.draw": False}
        config = learning.configure(str(folder / source), recipe, None, quick | settings)
        experiment.train(config, folder / name)
    return folder


@pytest.fixture(scope="module")
def whole(work: Path) -> Comparison:
    """Two runs and PCA, with every picture."""
    return compare.gather({name: [Run(work / name)] for name in ("v2", "ae")})


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not rendered: each becomes one white pixel."""
    out = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(out, "PNG")
    monkeypatch.setattr("latlas.figures.png", lambda figure, **options: out.getvalue())


def rows(comparison: Comparison) -> dict[str, Entry]:
    return {e.name: e for e in comparison.entries}


def test_numbers_are_those_that_the_runs_wrote(work: Path, whole: Comparison) -> None:
    for name in ("v2", "ae"):
        metrics, values = Run(work / name).metrics, rows(whole)[name].values
        for key in ("elbo", "distortion", "rate", "mse"):
            assert values[key] == metrics["splits"]["test"][key]
        for key in ("parameters", "training_seconds", "images_per_second", "latent", "likelihood", "recipe"):
            assert values[key] == metrics[key]
        assert rows(whole)[name].stderrs.get("elbo") == metrics["splits"]["test"]["elbo_stderr"]
    assert rows(whole)["v2"].scale == "cross-entropy"
    assert whole.differing()["model.latent"] == [2, 3]
    assert "optimizer.betas" not in whole.differing()
    assert not [key for key in whole.differing() if key.startswith(("pictures", "recipe.s", "data.data_dir"))]


def test_pca_is_scikit_learns_at_each_latent_size(work: Path, whole: Comparison) -> None:
    data = dataset_of(Run(work / "v2"))
    train, test = (data.scaling.apply(s.x).reshape(len(s), -1).astype(float) for s in (data.train, data.test))
    assert [e.name for e in whole.entries if e.baseline] == ["PCA (latent 2)", "PCA (latent 3)"]
    for size in (2, 3):
        pca = PCA(size, svd_solver="full").fit(train)
        expected = np.square(pca.inverse_transform(pca.transform(test)) - test).mean()
        assert rows(whole)[f"PCA (latent {size})"].values["mse"] == pytest.approx(expected, rel=1e-4)
    assert whole.best("mse") == {"PCA (latent 2)", "PCA (latent 3)"}, "two axes are all that ramps have"
    assert rows(whole)["PCA (latent 3)"].number("elbo") is None


def test_a_row_of_several_seeds_is_their_mean_and_spread(work: Path) -> None:
    runs = [Run(work / "v3"), Run(work / "v3-seed1")]
    comparison = compare.gather({"both": runs, "one": [Run(work / "v2")]}, pca=False, pictures=False)
    both, elbos = rows(comparison)["both"], [run.metrics["splits"]["test"]["elbo"] for run in runs]
    assert elbos[0] != elbos[1]
    assert both.values["elbo"] == pytest.approx(mean(elbos))
    assert both.spread["elbo"] == pytest.approx(stdev(elbos))
    assert (both.stderrs, both.seeds) == ({}, 2)
    assert (both.values["seed"], both.values["latent"]) == ("0, 1", 3)
    assert "seed" not in comparison.differing()
    with pytest.raises(InputError, match=r"mixed: .* differ in model\.latent; runs of one row"):
        compare.gather({"mixed": [Run(work / "v2"), Run(work / "v3")]}, pictures=False)
    with pytest.raises(InputError, match=r"data\.source"):
        compare.gather({"mixed": [Run(work / "v2"), Run(work / "other")]}, pictures=False)


def test_runs_of_other_data_stand_side_by_side_unranked(work: Path, unrendered: None) -> None:
    comparison = compare.gather({name: [Run(work / name)] for name in ("v2", "other")})
    assert comparison.best("mse") == comparison.best("elbo") == set()
    assert "v2 (ramps) and other (others): nothing is ranked" in comparison.reasons[0]
    assert [e.name for e in comparison.entries] == ["v2", "other"]
    assert "PCA is left out" in comparison.notes[0]
    assert [p.name for p in comparison.pictures if p.part == "reconstructions"] == ["ramps", "others"]


def test_gaussian_and_bernoulli_runs_rank_by_their_error(work: Path) -> None:
    comparison = compare.gather(
        {n: [Run(work / n)] for n in ("v2", "v3", "gauss")}, pca=False, pictures=False
    )
    assert [[e.name for e in group] for group in comparison.groups("elbo")] == [["v2", "v3"], ["gauss"]]
    highest = max(("v2", "v3"), key=lambda name: Run(work / name).metrics["splits"]["test"]["elbo"])
    assert comparison.best("elbo") == {highest}
    assert len(comparison.groups("mse")) == 1
    assert "v2 and v3 (Bernoulli on grey values" in comparison.reasons[0]


def test_measures_are_columns(work: Path) -> None:
    runs = {name: [Run(work / name)] for name in ("v2", "ae")}
    comparison = compare.gather(runs, measures=["knn_accuracy", "mean_code_norm"], pictures=False)
    assert {"knn_accuracy", "mean_code_norm"} <= {column.key for column in comparison.columns}
    assert all(0 <= (e.number("knn_accuracy") or -1) <= 1 for e in comparison.entries)
    with pytest.raises(InputError, match="unknown measure 'knn_acuracy'; did you mean 'knn_accuracy'"):
        compare.gather(runs, measures=["knn_acuracy"])


def test_every_model_is_shown_the_same_items_and_the_same_noise(
    work: Path, monkeypatch: pytest.MonkeyPatch, unrendered: None
) -> None:
    seen: dict[str, Any] = {}

    def reconstructions(rows: Sequence[Any], title: str, subtitle: str, labels: Any, **_: Any) -> Any:
        seen.update(original=rows[0][1], models=dict(rows[1:]), labels=labels)
        return figures.image_grid(rows[0][1], "")

    def panels(named: Sequence[Any], title: str, subtitle: str, **_: Any) -> Any:
        seen.update(samples=dict(named), subtitle=subtitle)
        return figures.image_grid(named[0][1], "")

    monkeypatch.setattr("latlas.compare.pictures.figures.image_rows", reconstructions)
    monkeypatch.setattr("latlas.compare.pictures.figures.image_panels", panels)
    found = compare.gather({name: [Run(work / name)] for name in ("v2", "v3", "ae")}, pca=False)
    data, models = dataset_of(Run(work / "v2")), {n: Run(work / n).model() for n in ("v2", "v3", "ae")}
    assert set(seen["labels"]) == {"0", "1", "2"}, "varied over the classes"
    stored = np.round(seen["original"] * 255).astype(np.uint8)
    assert all((data.test.x == item).all(axis=(1, 2, 3)).any() for item in stored), "of the test split"
    for name, model in models.items():
        assert np.allclose(seen["models"][name], model.reconstruct(stored) / 255, atol=1e-6)
    assert set(seen["samples"]) == {"v2", "v3"}
    assert np.array_equal(
        seen["samples"]["v3"], models["v3"].sample(len(seen["samples"]["v3"]), units="model")
    )
    assert "none of ae" in seen["subtitle"]
    parts = [(p.part, p.name) for p in found.pictures]
    assert parts[:2] == [("reconstructions", ""), ("samples", "")]
    assert set(parts[2:]) == {(part, name) for part in ("latent", "decoded") for name in models}


def test_tables_are_compared_without_pictures_of_images(work: Path, unrendered: None) -> None:
    comparison = compare.gather({"rows": [Run(work / "rows")]})
    assert comparison.unit == "nats per row"
    assert [(p.part, p.name) for p in comparison.pictures] == [
        ("reconstructions", "rows"), ("reconstructions", "PCA (latent 2)"), ("samples", "rows"),
        ("latent", "rows"), ("latent", "PCA (latent 2)"),
    ]  # fmt: skip
    assert comparison.best("mse")


def test_the_page_refers_to_nothing_outside_itself(whole: Comparison, work: Path) -> None:
    html = compare.page([whole, whole], "A <title> & more", "First.\n\nSecond <b>.", ["A note."])
    page = Page(html)
    assert page.open == []
    links = [a[key] for _, a in page.tags for key in ("src", "href", "action", "srcset") if key in a]
    assert links
    assert all(str(link).startswith("data:") for link in links)
    assert re.findall(r"https?://|file:|url\(|@import|<script|<iframe", html) == []
    assert str(work) not in html
    identities = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identities) == len(set(identities)) == 2 * len(whole.pictures)
    for said in (
        "A <title> & more",
        "Second <b>.",
        "A note.",
        "v2",
        "PCA (latent 3)",
        "model.latent",
        "has no ELBO",
        FIGURES["latent"].caption,
        FIGURES["manifold"].caption,
    ):
        assert said in page.text.replace("\u200b", "")
    elbo = f"{Run(work / 'v2').metrics['splits']['test']['elbo']:.2f}".replace("-", "−")
    assert elbo in page.text


def test_hostile_names_and_notes_stay_text(unrendered: None) -> None:
    nasty = "</table></style><script>alert('x')</script>&amp;\"{{ 7 * 7 }}"
    settings = {"model.latent": 2, nasty: 0}
    rows = [
        replace(entry(nasty, data_name=nasty, settings=settings), spread={"elbo": 1.0}, runs=("a", "b")),
        entry("plain", "density", elbo=-90, data_name=nasty, settings=settings | {nasty: nasty}),
    ]
    columns = (*COLUMNS, Column("more", nasty, nasty, 1, "higher", nasty))
    pictures = tuple(Picture(part, nasty, figures.png(None), nasty) for part in ("latent", "decoded"))
    hostile = replace(
        compared(*rows), title=nasty, unit=nasty, columns=columns, pictures=pictures, notes=(nasty,)
    )
    page = Page(compare.page([hostile, hostile], nasty, nasty, [nasty]))
    assert page.open == []
    assert page.all("script") == []
    assert len(page.all("style")) == 1
    assert page.text.replace("\u200b", "").count(nasty) > 20
    assert "49" not in page.text


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_opens_in_a_browser(tmp_path: Path, chromium: str, whole: Comparison) -> None:
    from playwright.sync_api import sync_playwright

    path = tmp_path / "compare.html"
    path.write_text(compare.page([whole], "Three"), encoding="utf-8")
    troubles: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, scheme in ((1280, "light"), (390, "dark")):
            page = browser.new_page(
                viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
            )  # type: ignore[arg-type]
            page.on("console", lambda message: troubles.append(message.text))
            page.on("pageerror", lambda error: troubles.append(str(error)))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing scrolls sideways"
            box = page.locator(".scroll").first
            inside = box.evaluate("e => e.scrollWidth > e.clientWidth")
            assert inside == (width == 390), "the table scrolls inside its own box"
            natural = page.evaluate("Array.from(document.images).map(i => i.complete && i.naturalWidth)")
            assert len(natural) == len(whole.pictures)
            assert min(natural) > 0
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", paper))) > 384) == (scheme == "light")
        browser.close()
    assert troubles == []


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Runs `latlas compare` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.run(["compare", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command_writes_the_page_and_prints_one_object(
    command: Callable[..., Any], work: Path, unrendered: None
) -> None:
    code, out, err = command(work / "v2", work / "ae", "--no-pca", "--json", "-q")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert [e["name"] for e in told["entries"]] == ["v2", "ae"]
    assert told["page"] == "compare.html"
    first = Path("compare.html").read_bytes()
    assert command(work / "v2", "-q")[0] == 0, (
        "one run and PCA are a comparison; the default name is written over"
    )
    assert Path("compare.html").read_bytes() != first
    code, out, _ = command(work / "v2", work / "v3", "--no-pca", "-q", "--out", "mine.html")
    assert code == 0
    assert "* the best of those that compare" in out
    assert out.rstrip().endswith("page: mine.html")
    before = Path("mine.html").read_bytes()
    assert command(work / "v2", "-q", "--out", "mine.html")[0] == 0
    assert Path("mine.html").read_bytes() != before, "so is any other file"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing argument"),
        ("W/v2 W/v2", "W/v2: given twice"),
        ("W/v2 W/../{parent}/v2", "given twice"),
        ("W/v2 W/none", "neither a folder nor a name under runs/"),
        ("W/v2 unfinished", "finish it with: latlas train --resume unfinished"),
        ("moved", "gone.npz"),
        ("W/v2 --measure purity", "unknown measure 'purity'"),
        ("W/v2 --out none/page.html", "the folder none does not exist"),
        ("W/v2 --out page.png", "expected a name ending in .html"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    command: Callable[..., Any], work: Path, arguments: str, message: str
) -> None:
    shutil.copytree(work / "v2", "unfinished")
    Path("unfinished/metrics.json").unlink()
    shutil.copytree(work / "v2", "moved")
    config = Path("moved/config.toml")
    config.write_text(config.read_text().replace("ramps.npz", "gone.npz"))
    words = arguments.replace("{parent}", work.name).replace("W/", f"{work}/").split()
    code, out, err = command(*words, "-q")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message.replace("W/", f"{work}/") in err
    assert not Path("compare.html").exists()


def test_two_runs_of_one_name_are_told_apart(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "v2", tmp_path / "v2")
    groups = compare.by_name([Run(work / "v2"), Run(tmp_path / "v2"), Run(work / "ae")])
    assert list(groups) == [str(work / "v2"), str(tmp_path / "v2"), "ae"]


def test_python_compares_runs_and_names_alike(work: Path, tmp_path: Path, unrendered: None) -> None:
    result = latlas.compare_runs([work / "v2", Run(work / "ae")], pca=False, quiet=True)
    assert [e.name for e in result.entries] == ["v2", "ae"]
    assert result.pictures == ()
    latlas.compare_runs([work / "v2"], tmp_path / "page.html", pca=False, quiet=True)
    assert "data:image/png" in (tmp_path / "page.html").read_text()
