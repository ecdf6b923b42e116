"""Corruption and denoising: what inputs suffer, that the loss is against the clean ones, and that it restores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import batches, image_dataset, made, table_dataset
from PIL import Image
from torch import Tensor

import latlas
from latlas import compare, figures, gallery, optimizers, pca, studies, training
from latlas.build import objective_of
from latlas.checkpoints import Progress
from latlas.cli import run as command
from latlas.compare import denoising
from latlas.compare.denoising import Row
from latlas.corruption import corrupt, describe
from latlas.data import Dataset, Scaling
from latlas.data.order import epoch_rows
from latlas.distributed import World
from latlas.metrics import Context
from latlas.metrics.elbo import evaluate
from latlas.metrics.reconstruction import restoration, restore
from latlas.models import Model
from latlas.progress import SILENT
from latlas.runs import Run, dataset_of
from latlas.settings import Config, CorruptionConfig
from latlas.studies import execute, prepare
from latlas.training import Logged, Stopped

NOISE = CorruptionConfig(name="gaussian", strength=0.5)
MASK = CorruptionConfig(name="masking", strength=0.3)
POINT = {
    "model__latent": 2, "network__hidden": (16,), "posterior__name": "point", "objective__name": "reconstruction",
    "likelihood__name": "gaussian", "likelihood__sigma": 0.5**0.5,
}  # fmt: skip


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grey(*shape: int) -> Tensor:
    """Values in (0.1, 0.9): none is 0, so that what is masked can be told."""
    return 0.1 + 0.8 * torch.rand(shape, generator=seeded(7))


def test_gaussian_noise_has_its_moments_and_is_not_clipped() -> None:
    x = grey(500, 3, 16, 16).double()
    added = corrupt(x, NOISE, seeded(0)) - x
    n = added.numel()
    assert abs(added.mean()) < 5 * 0.5 / n**0.5
    assert added.square().mean() == pytest.approx(0.25, abs=5 * 0.25 * (2 / n) ** 0.5)
    assert (added / 0.5).pow(4).mean() == pytest.approx(3, abs=0.1)
    channels = torch.stack([added[:, 0].flatten(), added[:, 1].flatten()])
    assert abs(torch.corrcoef(channels)[0, 1]) < 5 / channels.shape[1] ** 0.5
    assert (x + added).min() < 0
    assert (x + added).max() > 1


@pytest.mark.parametrize("shape", [(400, 1, 12, 12), (400, 3, 12, 12), (400, 144)])
def test_masks_take_their_share_and_leave_the_rest_untouched(shape: tuple[int, ...]) -> None:
    x = grey(*shape)
    y = corrupt(x, MASK, seeded(0))
    hidden = y == 0
    places = hidden[:, :1] if len(shape) == 4 else hidden
    n = places.numel()
    assert places.float().mean() == pytest.approx(0.3, abs=5 * (0.21 / n) ** 0.5)
    assert torch.equal(hidden, places.expand_as(hidden)), "all channels of a pixel go together"
    assert torch.equal(y[~hidden], x[~hidden])
    shares = places.flatten(1).float().mean(1)
    assert shares.std() == pytest.approx((0.21 / 144) ** 0.5, rel=0.2), "each place by itself"


def test_no_mask_and_a_full_one_are_exact() -> None:
    x = grey(50, 3, 5, 5)
    assert torch.equal(corrupt(x, CorruptionConfig(name="masking", strength=0), seeded(0)), x)
    assert torch.equal(
        corrupt(x, CorruptionConfig(name="masking", strength=1), seeded(0)), torch.zeros_like(x)
    )
    assert torch.equal(corrupt(x, CorruptionConfig(name="gaussian", strength=0), seeded(0)), x)


def test_no_corruption_gives_the_input_itself_and_draws_nothing() -> None:
    x, generator = grey(5, 4), seeded(3)
    before = generator.get_state()
    assert corrupt(x, CorruptionConfig(strength=0.9), generator) is x
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("options", [NOISE, MASK], ids=lambda o: o.name)
def test_the_generator_alone_decides(options: CorruptionConfig) -> None:
    x = grey(20, 3, 6, 6)
    first = corrupt(x, options, seeded(1))
    torch.rand(3)
    assert torch.equal(corrupt(x, options, seeded(1)), first)
    assert not torch.equal(corrupt(x, options, seeded(2)), first)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(corrupt(last, options, seeded(1)), first), "the order in memory has no part in it"
    generator = seeded(1)
    assert torch.equal(corrupt(x, options, generator), first)
    assert not torch.equal(corrupt(x, options, generator), first), "every call draws anew"
    assert corrupt(x.double(), options, seeded(1)).dtype == torch.float64


def test_a_masked_value_of_a_table_is_its_columns_mean() -> None:
    x = np.random.default_rng(0).normal([3.0, -200.0], [1.0, 50.0], (200, 2))
    scaling = Scaling("standard", tuple(x.mean(0)), tuple(x.std(0)))
    dataset = replace(table_dataset(x), scaling=scaling)
    _, model = made(dataset, **POINT | {"model__latent": 1})
    masked, _ = restore(model, x, CorruptionConfig(name="masking", strength=1))
    np.testing.assert_allclose(masked, np.tile(x.mean(0), (200, 1)), rtol=1e-5)


def test_a_description_says_what_was_done() -> None:
    assert describe(CorruptionConfig()) == ""
    assert describe(NOISE) == "Corrupted by Gaussian noise of standard deviation 0.5."
    assert "30 % of the values" in describe(MASK)


def begin(dataset: Dataset, **settings: Any) -> tuple[Config, Model, torch.optim.Optimizer]:
    quick = {"training__batch_size": 32, "training__log_every": 1, "training__precision": "float64"}
    config, model = made(dataset, **(POINT | quick | settings))
    return config, model, optimizers.optimizer_for(config, model)


def loop(
    dataset: Dataset, begun: tuple[Config, Model, torch.optim.Optimizer], progress: Progress | None = None,
    stop: Any = lambda: False,
) -> Iterator[training.Event]:  # fmt: skip
    config, model, optimizer = begun
    data, objective = batches(dataset, "train", model), objective_of(config, dataset.shape)
    return training.train(model, data, objective, optimizer, config, progress or Progress(), World(stop=stop))


@pytest.mark.parametrize(("name", "strength"), [("gaussian", 0.5), ("masking", 0.3)])
def test_the_loss_is_that_of_the_corrupted_input_against_the_clean_one(name: str, strength: float) -> None:
    """The first step's loss and gradient, by hand; against corrupted images, or from clean ones, they differ."""
    dataset = image_dataset()
    settings = {"corruption__name": name, "corruption__strength": strength, "training__steps": 1}
    begun = begin(dataset, **settings)
    step = next(e for e in loop(dataset, begun) if isinstance(e, Logged))
    config, model, _ = begin(dataset, **settings)
    x = batches(dataset, "train", model)(epoch_rows(config.seed, 0, len(dataset.train), 32)[0])
    y = corrupt(x, config.corruption, seeded(training.step_seed(config.seed, 0)))
    values = {}
    for which, (inputs, target) in {"right": (y, x), "own": (y, y), "clean": (x, x)}.items():
        model.zero_grad()
        loss = (
            (model.raw(model.infer(inputs).mean[None])[0].sigmoid() - target)
            .square()
            .flatten(1)
            .sum(1)
            .mean()
        )
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        values[which] = (loss.item(), norm.item())
    constant = 0.5 * np.prod(dataset.shape) * np.log(2 * np.pi * 0.5)  # of a Gaussian with sigma^2 = 1/2
    got = (step.values["loss"] - constant, step.values["grad_norm"])
    assert got == pytest.approx(values["right"], rel=1e-9)
    for other in ("own", "clean"):
        assert got[0] != pytest.approx(values[other][0], rel=1e-5)
        assert got[1] != pytest.approx(values[other][1], rel=1e-5)


def test_a_resumed_denoising_run_ends_in_the_same_bits() -> None:
    dataset, settings = image_dataset(), {"corruption__name": "gaussian", "training__steps": 12}
    whole = begin(dataset, **settings)
    list(loop(dataset, whole))
    first, progress, count = begin(dataset, **settings), Progress(), iter(range(100))
    ends = [e for e in loop(dataset, first, progress, lambda: next(count) == 6) if isinstance(e, Stopped)]
    assert [e.step for e in ends] == [7]
    second = begin(dataset, **settings)
    second[1].load_state_dict(first[1].state_dict())
    second[2].load_state_dict(first[2].state_dict())
    torch.rand(5)
    list(loop(dataset, second, progress))
    for name, value in whole[1].state_dict().items():
        assert torch.equal(second[1].state_dict()[name], value), name


def test_noise_costs_a_linear_code_its_share_of_the_variance() -> None:
    """PCA with k of d dimensions: E|P(x + s e) - x|^2 / d = error + s^2 k / d, and the input's error is s^2."""
    rng = np.random.default_rng(0)
    dataset = table_dataset(rng.standard_normal((4000, 10)) * np.linspace(2, 0.1, 10))
    for k in (2, 7):
        model = pca.fit(dataset, k)
        data = batches(dataset, "test", model)
        found, clean = restoration(model, data, NOISE), evaluate(model, data).mse
        assert found.images == 4000
        assert found.corrupted_mse == pytest.approx(0.25, rel=0.03)
        assert found.restored_mse == pytest.approx(clean + 0.25 * k / 10, rel=0.03)
        none = restoration(model, data, CorruptionConfig())
        assert (none.corrupted_mse, none.restored_mse) == (0, pytest.approx(clean))


def test_every_model_is_given_the_same_corrupted_items_and_seeds_decide_them() -> None:
    dataset = image_dataset(1200)
    _, one = made(dataset, **POINT)
    _, other = made(dataset, **POINT | {"model__latent": 3, "seed": 5})
    found = [restoration(m, batches(dataset, "train", m), MASK) for m in (one, one, other)]
    assert found[0] == found[1]
    assert found[0].corrupted_mse == found[2].corrupted_mse
    assert found[0].restored_mse != found[2].restored_mse
    again = restoration(one, batches(dataset, "train", one), MASK, seed=1)
    assert again.corrupted_mse != found[0].corrupted_mse
    x = dataset.scaling.apply(dataset.train.x).astype(float)
    assert again.corrupted_mse == pytest.approx(0.3 * np.square(x).mean(), rel=0.02), (
        "a masked value errs by itself"
    )


def test_the_items_of_the_picture_are_corrupted_but_not_clipped() -> None:
    dataset = image_dataset(channels=3)
    _, model = made(dataset, **POINT)
    x = dataset.test.x[:5]
    corrupted, restored = restore(model, x, NOISE, units="model")
    assert corrupted.shape == restored.shape == x.shape
    assert corrupted.min() < 0
    assert np.square(corrupted - x / 255).mean() == pytest.approx(0.25, rel=0.15)
    with torch.no_grad():
        y = torch.from_numpy(corrupted).permute(0, 3, 1, 2)
        mean = model.likelihood.mean(model.raw(model.infer(y).mean[None])[0])
    np.testing.assert_allclose(restored, mean.permute(0, 2, 3, 1), atol=1e-6)


def texts(figure: Any) -> list[str]:
    return [t.get_text() for t in figure.axes[0].texts]


def test_the_picture_has_three_rows_with_their_errors() -> None:
    rng = np.random.default_rng(0)
    clean = rng.random((7, 6, 5, 1))
    corrupted, restored = clean + 2.0, clean - 0.25
    rows = [("clean", clean), ("corrupted", corrupted), ("restored", restored)]
    figure = figures.image_rows(rows, "Restored", labels=list("abcdefg"), columns=4)
    said = texts(figure)
    for word in ("clean", "corrupted", "restored"):
        assert said.count(word) == 2, "in each of the two rows of triplets"
    assert said.count("4") == 7
    assert said.count("0.062") == 7
    assert [t for t in said if t in "abcdefg"] == list("abcdefg")
    assert len(texts(figures.image_rows(rows, "Restored"))) == 3 + 14


def test_the_pictures_images_and_errors_stand_where_they_belong() -> None:
    """Black, grey and white images: each label is level with its row, each error just below its image."""
    levels = [np.full((6, 8, 8, 1), v) for v in (0.0, 0.4, 0.7)]
    names = ("clean", "corrupted", "restored")
    figure = figures.image_rows(list(zip(names, levels, strict=True)), "Restored", columns=3)
    pixels = figure.axes[0].images[0].get_array()
    for text in figure.axes[0].texts:
        x, y = text.get_position()
        for name, level in (("clean", 0), ("corrupted", 102), ("restored", 178)):
            if text.get_text() == name:
                assert pixels[int(y), 5, 0] == level
        for error, level in (("0.160", 102), ("0.490", 178)):
            if text.get_text() == error:
                assert pixels[int(y) - 20, int(x), 0] == level


QUICK = {"network.hidden": [128], "training.threads": 1, "training.batch_size": 64}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A denoising autoencoder and a plain one of digits, alike otherwise."""
    root = tmp_path_factory.mktemp("denoising")
    drawn = {"denoising-ae": True, "mlp-ae": False}
    return {
        recipe: latlas.train(
            "digits", recipe=recipe, latent=32, epochs=12, out=root / recipe, quiet=True,
            settings=QUICK | {"pictures.draw": draw},
        )
        for recipe, draw in drawn.items()
    }  # fmt: skip


@pytest.mark.slow
def test_denoising_beats_its_input_and_a_plain_autoencoder(trained: dict[str, Run]) -> None:
    (row,) = denoising.restoration_table(list(trained.values()))
    assert (row.data, row.latent, row.corruption) == ("digits", 32, NOISE)
    assert row.corrupted == pytest.approx(0.25, rel=0.03)
    assert row.denoising[0] < 0.9 * row.plain[0]
    assert row.denoising[0] < 0.3 * row.corrupted
    assert row.verdict == "wins"
    test = trained["denoising-ae"].metrics["splits"]["test"]
    assert (row.corrupted, row.denoising) == (test["corrupted_mse"], (test["restored_mse"],))
    assert test["mse"] < test["restored_mse"], "the clean items are easier"


def test_validation_and_test_are_on_clean_items(trained: dict[str, Run]) -> None:
    run = trained["denoising-ae"]
    dataset = dataset_of(run)
    best = next(r for r in run.log() if r["kind"] == "epoch" and r["step"] == run.metrics["best_step"])
    splits = run.metrics["splits"]
    clean = evaluate(run.model(), batches(dataset, "valid", run.model())).to_dict()
    for key in ("distortion", "mse"):
        assert best["valid"][key] == pytest.approx(clean[key], rel=1e-5)
        assert splits["valid"][key] == pytest.approx(clean[key], rel=1e-5)
    restored = restoration(run.model(), batches(dataset, "valid", run.model()), NOISE)
    assert splits["valid"]["restored_mse"] == pytest.approx(restored.restored_mse, rel=1e-5)
    assert set(splits["test"]) - set(trained["mlp-ae"].metrics["splits"]["test"]) == {
        "corrupted_mse",
        "restored_mse",
    }


class Text(HTMLParser):
    """The text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_denoising_run_shows_what_it_restores(
    trained: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = trained["denoising-ae"], []
    monkeypatch.setattr(gallery, "draw", lambda *arguments: asked.append(arguments[-1]) or [])
    for any_run in trained.values():
        gallery.redraw(any_run, None, None)
    assert asked[0].corruption == NOISE
    assert asked[1].corruption.name == "none"
    with Image.open(run.path / "figures" / "restored.png") as picture:
        assert picture.info["Title"] == "Clean, corrupted and restored"
    html = (run.path / "report.html").read_text()
    assert html.index('id="reconstructions"') < html.index('id="restored"') < html.index('id="latent"')
    text = Text(html).text
    for key in ("corrupted_mse", "restored_mse"):
        assert f"{run.metrics['splits']['test'][key]:.5f}" in text
    assert "Restored" not in Text((trained["mlp-ae"].path / "report.html").read_text()).text


def say(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    code = command(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_evaluate_restores_as_in_training_or_as_asked(
    trained: dict[str, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    own, plain = trained["denoising-ae"], trained["mlp-ae"]
    result = json.loads(say(capsys, own.path, "-q", "--json")[1])
    assert result["corruption"] == {"name": "gaussian", "strength": 0.5}
    assert result["restored_mse"] == own.metrics["splits"]["test"]["restored_mse"]
    asked = json.loads(say(capsys, plain.path, "--corrupt", "gaussian", "--strength", 0.5, "-q", "--json")[1])
    assert asked["corrupted_mse"] == result["corrupted_mse"]
    assert asked["restored_mse"] > result["restored_mse"]
    for words in ([plain.path], [own.path, "--corrupt", "none"]):
        result = json.loads(say(capsys, *words, "-q", "--json")[1])
        assert not {"corruption", "corrupted_mse", "restored_mse"} & set(result)
    masked = json.loads(say(capsys, own.path, "--corrupt", "masking", "--split", "valid", "-q", "--json")[1])
    assert masked["corruption"] == {"name": "masking", "strength": 0.5}
    text = say(capsys, own.path, "-q")[1]
    assert text.splitlines()[1].startswith("gaussian 0.5: corrupted mse 0.2")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--corrupt", "fog"], "corruption.name = 'fog'"),
        (["--corrupt", "masking", "--strength", "1.5"], "corruption.strength"),
        (["--corrupt", "gaussian", "--strength", "-1"], "corruption.strength"),
        (["--strength", "0.5"], "--strength 0.5: a strength needs a corruption"),
    ],
)
def test_evaluate_refuses_what_cannot_be_asked(
    trained: dict[str, Run], capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    code, out, err = say(capsys, trained["mlp-ae"].path, *words, "-q")
    assert (code, out) == (2, "")
    assert part in err
    assert err.count("\n") == 1


def test_a_table_is_restored_too_without_a_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3)) @ rng.standard_normal((3, 8))
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header=",".join("abcdefgh"), comments="")
    run = latlas.train(
        tmp_path / "t.csv", recipe="denoising-ae", latent=3, epochs=3, out=tmp_path / "run", quiet=True,
        settings={"pictures.draw": False},
    )  # fmt: skip
    test = run.metrics["splits"]["test"]
    assert test["corrupted_mse"] == pytest.approx(0.25, rel=0.3)
    assert test["restored_mse"] > 0
    drawing = gallery.drawing_of(Context(run.model(), dataset_of(run)), gallery.Settings(corruption=NOISE))
    assert gallery.FIGURES["restored"].draw(drawing) is None


def test_verdicts_name_what_is_better() -> None:
    def verdict(denoising: float, corrupted: float, *plain: float) -> str:
        return Row("d", 2, NOISE, corrupted, plain, (denoising,)).verdict

    assert verdict(0.1, 0.2, 0.3) == "wins"
    assert verdict(0.25, 0.2, 0.3) == "loses to corrupted"
    assert verdict(0.15, 0.2, 0.1, 0.1) == "loses to plain"
    assert verdict(0.4, 0.2, 0.3) == "loses to corrupted and plain"
    assert verdict(0.2, 0.2, 0.2) == "loses to corrupted and plain", "no better is not a win"
    assert verdict(0.1, 0.2) == "beats corrupted; no plain run"
    assert verdict(0.3, 0.2) == "loses to corrupted"


def test_tables_of_restoration_show_means_and_spreads() -> None:
    rows = [
        Row("d<1>", 32, NOISE, 0.25, (0.03, 0.05), (0.01, 0.02)),
        Row("d<1>", 64, MASK, 0.03, (), (0.04,)),
    ]
    first, second = (row.to_dict() for row in rows)
    assert (first["plain_mse"], first["plain_runs"]) == (pytest.approx(0.04), 2)
    assert first["denoising_mse_sd"] == pytest.approx(0.01 / 2**0.5)
    assert (second["plain_mse"], second["plain_mse_sd"], second["denoising_mse_sd"]) == (None, None, None)
    json.dumps([first, second], allow_nan=False)
    lines = denoising.text_table(rows).splitlines()
    assert "0.04000 ± 0.01414" in lines[1]
    assert lines[1].endswith("wins")
    assert lines[2].endswith("loses to corrupted")
    html = compare.page([], "Denoising", restored={"d<1>": denoising.table(rows)})
    assert "Restored on d&lt;1&gt;" in html
    assert '<td class="wins">wins</td>' in html
    for said in ("0.04000 ± 0.01414", "masking 0.3", "loses to corrupted"):
        assert said in Text(html).text


def test_seeds_share_a_row_and_other_training_is_no_counterpart(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "limit": 100,
        "quiet": True,
        "settings": {"network.hidden": [8], "pictures.draw": False},
    }
    wanted = {
        "a": ("denoising-ae", {"seed": 0, "steps": 4}), "b": ("denoising-ae", {"seed": 1, "steps": 4}),
        "p": ("mlp-ae", {"seed": 0, "steps": 4}), "longer": ("mlp-ae", {"seed": 0, "steps": 5}),
        "wider": ("mlp-ae", {"seed": 0, "steps": 4, "latent": 3}),
    }  # fmt: skip
    made = [
        latlas.train("digits", recipe=recipe, out=tmp_path / name, **{"latent": 2} | options | changes)
        for name, (recipe, changes) in wanted.items()
    ]
    (row,) = denoising.restoration_table(made)
    assert (len(row.denoising), len(row.plain)) == (2, 1)
    assert len(set(row.denoising)) == 2
    assert denoising.restoration_table(made[3:]) == []
    assert denoising.restoration_table([made[0], *made[3:]])[0].beats_plain is None


def test_the_study_asks_every_corruption_at_both_sizes_beside_plain_runs() -> None:
    study = studies.read("denoising")
    found = {
        (e.config.corruption.name, e.config.corruption.strength * (e.config.corruption.name != "none"))
        for e in study.entries
    }
    wanted = {("none", 0.0), ("masking", 0.25), ("masking", 0.5)}
    assert found == wanted | {("gaussian", s) for s in (0.1, 0.3, 0.5, 0.7)}
    assert len(study.entries) == 14
    apart = {
        e.config.model_copy(update={"corruption": None, "recipe": None}).model_dump_json()
        for e in study.entries
    }
    assert len(apart) == 2, "but for the corruption the runs of a latent size are alike"
    assert study.info.table == "restoration"


@pytest.mark.slow
def test_a_study_ends_with_the_table(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        """[study]
name = "mine"
data = ["digits"]
pca = false
table = "restoration"
[settings]
training.steps = 4
network.hidden = [8]
model.latent = 2
[[runs]]
recipe = "mlp-ae"
[[runs]]
recipe = "denoising-ae"
"""
    )
    options = prepare.Options(out=tmp_path / "out", limit=100)
    values = execute.carry_out(prepare.plan(studies.read(tmp_path / "mine.toml"), options, SILENT), SILENT)
    (row,) = values["results"]["digits"]["restoration"]
    assert row["plain_runs"] == row["denoising_runs"] == 1
    assert row["verdict"] in values["results"]["digits"]["text"]
    assert f"{row['denoising_mse']:.5f}" in Text((tmp_path / "out" / "study.html").read_text()).text
