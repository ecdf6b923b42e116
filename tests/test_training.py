"""The loop: what it yields, what it depends on, and that it reaches known optima."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import CPU, batches, image_dataset, images, made, poison, split, table_dataset

from latlas import config as configuration
from latlas import optimizers, reading, scales, training
from latlas.build import objective_of, resolve
from latlas.checkpoints import Progress
from latlas.data import Dataset
from latlas.data.batches import Batches
from latlas.data.order import epoch_rows, steps_per_epoch
from latlas.distributed import World
from latlas.errors import LatlasError
from latlas.metrics.elbo import evaluate
from latlas.models import Model, Pass
from latlas.networks import NETWORKS
from latlas.objectives import Elbo
from latlas.settings import Config
from latlas.training import EpochEnded, Logged, Noted, SetBack, Skipped, SnapshotDue, Stopped

QUICK = {"model__latent": 2, "network__hidden": (16,), "training__batch_size": 32, "training__log_every": 3}


def begin(dataset: Dataset, **settings: Any) -> tuple[Config, Model, torch.optim.Optimizer]:
    config, model = made(dataset, **(QUICK | settings))
    return config, model, optimizers.optimizer_for(config, model)


def events(
    dataset: Dataset, config: Config, model: Model, optimizer: torch.optim.Optimizer,
    progress: Progress | None = None, stop: Any = lambda: False,
) -> Iterator[training.Event]:  # fmt: skip
    data = batches(dataset, "train", model)
    objective = objective_of(config, (10,))
    return training.train(model, data, objective, optimizer, config, progress or Progress(), World(stop=stop))


def test_every_image_is_seen_once_an_epoch_in_a_new_order() -> None:
    first, second = (epoch_rows(0, epoch, 103, 10) for epoch in (0, 1))
    assert sorted(np.concatenate(first)) == list(range(103))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert np.array_equal(np.concatenate(first), np.concatenate(epoch_rows(0, 0, 103, 10)))
    assert not np.array_equal(np.concatenate(first), np.concatenate(epoch_rows(1, 0, 103, 10)))


@pytest.mark.parametrize(("images", "batch"), [(100, 10), (101, 10), (102, 10), (7, 10), (2, 10), (11, 10)])
def test_no_batch_has_a_single_image(images: int, batch: int) -> None:
    rows = epoch_rows(0, 0, images, batch)
    assert len(rows) == steps_per_epoch(images, batch)
    assert min(map(len, rows)) > 1
    assert sum(map(len, rows)) == images


def test_a_last_batch_of_one_trains_with_batch_normalisation() -> None:
    dataset = image_dataset(height=8, width=8)
    dataset = replace(dataset, train=split(images(33, 8, 8)))
    config, model, optimizer = begin(
        dataset,
        network__name="conv",
        network__batch_norm=True,
        training__epochs=2,
        network__channels=(4, 4, 4),
    )
    ends = [e for e in events(dataset, config, model, optimizer) if isinstance(e, EpochEnded)]
    assert all(math.isfinite(e.values["loss"]) for e in ends)


def test_events_come_in_order_and_cover_the_plan() -> None:
    dataset = image_dataset()
    config, model, optimizer = begin(dataset, training__steps=12, training__snapshot_every=4)
    seen = list(events(dataset, config, model, optimizer))
    assert [e.step for e in seen if isinstance(e, SnapshotDue)] == [0, 4, 8, 12]
    assert [e.step for e in seen if isinstance(e, EpochEnded)] == [5, 10, 12]
    assert [e.step for e in seen if isinstance(e, Logged)] == [3, 5, 6, 9, 10, 12]
    steps = [e.step for e in seen]
    assert steps == sorted(steps)


def test_the_log_of_a_long_training_stays_short_enough_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (*training.TERMS, "elbo", "beta", "lr", "epoch", "images_per_second")
    row = json.dumps({"kind": "step", "step": 10**15} | dict.fromkeys(names, -math.pi * 1e300))
    assert len(row) * training.MOST_LOGGED < reading.MOST[".jsonl"]
    assert training.Plan(training.MOST_LOGGED * 50, 100, 0).logged(50) == 50
    monkeypatch.setattr(training, "MOST_LOGGED", 4)
    dataset = image_dataset()
    config, model, optimizer = begin(dataset, training__steps=12, training__log_every=1)
    seen = list(events(dataset, config, model, optimizer))
    assert [e.step for e in seen if isinstance(e, Logged)] == [3, 5, 6, 9, 10, 12]
    (note,) = [e.text for e in seen if isinstance(e, Noted)]
    assert note.startswith("the log has a row for every 3 steps, not 1: ")


def test_epoch_means_weigh_each_batch_by_its_images() -> None:
    """160 images in batches of 64: 64, 64, 32. At learning rate ~0 the epoch's mean is the data set's."""
    dataset = image_dataset()
    config, model, optimizer = begin(
        dataset, training__batch_size=64, training__epochs=1, optimizer__lr=1e-30, training__precision="float64",
        posterior__name="point", objective__name="reconstruction", optimizer__weight_decay=0.0,
        training__log_every=100, training__snapshot_every=100,  # the three batches are summed up at once
    )  # fmt: skip
    end = next(e for e in events(dataset, config, model, optimizer) if isinstance(e, EpochEnded))
    whole = evaluate(model, batches(dataset, "train", model)).distortion
    assert end.values["distortion"] == pytest.approx(whole, rel=1e-12)
    assert end.values["loss"] == pytest.approx(whole, rel=1e-12)
    assert end.values["rate"] is None
    assert end.values["elbo"] is None


def test_the_logged_elbo_is_at_beta_one_whatever_beta_is() -> None:
    dataset = image_dataset()
    config, model, optimizer = begin(dataset, training__steps=6, objective__beta=5.0)
    for event in events(dataset, config, model, optimizer):
        if isinstance(event, Logged):
            v = event.values
            assert v["elbo"] == pytest.approx(-(v["distortion"] + v["rate"]))
            assert v["loss"] == pytest.approx(v["distortion"] + 5 * v["rate"], rel=1e-5)
            assert v["rate"] >= 0


def test_schedules_follow_the_optimisers_steps_alone() -> None:
    """Validating between the events does not advance them."""
    dataset = image_dataset()
    settings = {"objective__schedule": "linear", "objective__warmup": 8, "training__steps": 10}
    seen = {}
    for validate in (False, True):
        config, model, optimizer = begin(dataset, **settings)
        rows = []
        for event in events(dataset, config, model, optimizer):
            if validate:
                evaluate(model, batches(dataset, "valid", model))
            if isinstance(event, Logged):
                rows.append((event.step, event.beta, event.lr))
        seen[validate] = (rows, model.state_dict())
    assert seen[False][0] == seen[True][0]
    assert [beta for _, beta, _ in seen[True][0]] == [min(1, step / 8) for step, _, _ in seen[True][0]]
    for name, tensor in seen[False][1].items():
        assert torch.equal(tensor, seen[True][1][name])


PARTS: dict[str, dict[str, Any]] = {
    "vamp and flow": {"prior__name": "vamp", "prior__components": 5, "posterior__name": "flow"},
    "mixture and capacity": {"prior__name": "mixture", "objective__capacity": 9.0, "objective__warmup": 8},
    "infovae": {"objective__name": "infovae", "objective__alpha": 0.5, "posterior__name": "full-gaussian"},
    "corrupted mmd": {
        "objective__name": "infovae", "posterior__name": "point", "corruption__name": "masking",
        "likelihood__name": "gaussian", "likelihood__sigma": "per-pixel",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("network", "stop_at", "parts"),
    [*((n, 4, None) for n in sorted(NETWORKS)), ("mlp", 1, None), ("conv", 5, None), ("mlp", 10, None)]
    + [("mlp", 5, parts) for parts in PARTS],
)
def test_stopping_and_going_on_gives_the_same_bits(
    network: str, stop_at: int, parts: str | None, tmp_path: Any
) -> None:
    from latlas import checkpoints, runs

    dataset = image_dataset(height=28, width=28, channels=3)
    settings = {
        "network__name": network, "network__batch_norm": True, "training__steps": 12, "network__hidden": (16,),
        "likelihood__sigma": "learned", "network__channels": (8, 16) if network == "vanilla" else None,
    } | PARTS.get(parts or "", {})  # fmt: skip
    config, whole, optimizer = begin(dataset, **settings)
    rows = [e for e in events(dataset, config, whole, optimizer) if isinstance(e, EpochEnded | Logged)]

    config, model, optimizer = begin(dataset, **settings)
    progress, run = Progress(), runs.Run(tmp_path)
    halves = list(events(dataset, config, model, optimizer, progress, lambda: progress.step >= stop_at))
    assert isinstance(halves[-1], Stopped)
    assert halves[-1].step == stop_at
    checkpoints.save(run.path, model, optimizer, progress)

    config, model, optimizer = begin(dataset, **settings)
    progress = checkpoints.restore(run.path, model, optimizer)
    halves += list(events(dataset, config, model, optimizer, progress))
    again = [e for e in halves if isinstance(e, EpochEnded | Logged)]
    assert [(e.step, e.values) for e in again] == [(e.step, e.values) for e in rows]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


class Steep(Elbo):
    """An ELBO whose gradient is not finite, though its value is: the root's derivative at 0."""

    def loss(self, p: Pass, beta: float = 1.0, capacity: float = 0.0) -> torch.Tensor:
        return super().loss(p, beta, capacity) + (0 * p.z.sum()).sqrt()


@pytest.mark.parametrize("term", ["loss", "gradient"])
@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("asked", [True, False])
def test_a_step_that_is_not_finite_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, network: str, name: str, term: str, asked: bool
) -> None:
    """Neither weights nor moments nor the averages of batch normalisation; the next step takes its own batch."""
    dataset = image_dataset(height=8, width=8)
    settings = {"network__name": network, "network__batch_norm": True, "network__channels": (4,),
                "optimizer__name": name, "training__steps": 7, "training__log_every": 1}  # fmt: skip
    config, model, optimizer = begin(dataset, **settings)
    data, steep = batches(dataset, "train", model), [Elbo(), Steep()][term == "gradient"]
    if not asked:
        monkeypatch.setattr(scales, "ASKED", ())
    if term == "loss":
        poison(monkeypatch, {4})
    progress, states, seen = Progress(), {}, []
    for stop_at in (3, 4, 7):
        objective = steep if stop_at == 4 else Elbo()
        done = lambda at=stop_at: progress.step >= at  # noqa: E731
        seen += list(training.train(model, data, objective, optimizer, config, progress, World(stop=done)))
        moments = optimizer.state_dict()["state"]
        flat = {f"{i}.{key}": value for i, state in moments.items() for key, value in state.items()}
        states[stop_at] = {key: value.clone() for key, value in (model.state_dict() | flat).items()}
    assert [(e.step, e.term) for e in seen if isinstance(e, Skipped)] == [(4, term)]
    assert all(torch.equal(value, states[4][key]) for key, value in states[3].items())
    assert not all(torch.equal(value, states[7][key]) for key, value in states[4].items())
    assert all(value.isfinite().all() for value in states[7].values())
    assert (progress.skipped, progress.recently_skipped, progress.setbacks) == (1, [4], 0)
    assert [e.step for e in seen if isinstance(e, Logged)] == [1, 2, 3, 5, 6, 7]
    # Batches, noise and schedules are those of the steps, as if the fourth had taken no time.
    monkeypatch.undo()
    if not asked:
        monkeypatch.setattr(scales, "ASKED", ())
    config, other, optimizer = begin(dataset, **settings)
    progress = Progress()
    world = World(stop=lambda: progress.step >= 3)
    list(training.train(other, data, Elbo(), optimizer, config, progress, world))
    progress.step = 4
    list(training.train(other, data, Elbo(), optimizer, config, progress))
    assert all(torch.equal(value, states[7][key]) for key, value in other.state_dict().items())


def test_a_skipped_step_is_in_no_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = image_dataset()
    settings = {"optimizer__lr": 1e-30, "training__epochs": 1, "training__batch_size": 40, "training__log_every": 50,
                "training__snapshot_every": 50, "optimizer__weight_decay": 0.0}  # fmt: skip
    losses = {}
    for log_every in (1, 50):
        config, model, optimizer = begin(dataset, **(settings | {"training__log_every": log_every}))
        with monkeypatch.context() as context:
            if log_every == 50:
                poison(context, {2})
            found = list(events(dataset, config, model, optimizer))
        losses[log_every] = [e.values["loss"] for e in found if isinstance(e, Logged)]
    first, _, *rest = losses[1]
    assert losses[50] == [pytest.approx(np.mean([first, *rest]), rel=1e-6)]


def test_an_epoch_without_a_finite_step_has_no_means(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = image_dataset()
    config, model, optimizer = begin(
        dataset, training__batch_size=160, training__steps=3, training__log_every=1
    )
    poison(monkeypatch, {2})
    seen = list(events(dataset, config, model, optimizer))
    assert [e.values["loss"] is None for e in seen if isinstance(e, EpochEnded)] == [False, True, False]
    assert [e.step for e in seen if isinstance(e, Logged)] == [1, 3]


def test_steps_skipped_close_together_are_a_setback_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = image_dataset()
    monkeypatch.setattr(training, "WITHIN", 5)
    for bad, back in (({3, 6, 9, 12}, None), ({3, 4, 8}, None), ({3, 4, 7, 9}, 7), ({10, 11, 12}, 12)):
        config, model, optimizer = begin(dataset, training__steps=12, training__log_every=50)
        with monkeypatch.context() as context:
            poison(context, bad)
            seen = list(events(dataset, config, model, optimizer))
        assert [e.step for e in seen if isinstance(e, SetBack)] == ([back] if back else [])
        assert not back or isinstance(seen[-1], SetBack)
        assert [e.step for e in seen if isinstance(e, Skipped)] == sorted(
            s for s in bad if not back or s <= back
        )


def test_each_setback_halves_the_learning_rate() -> None:
    dataset, rates = image_dataset(), []
    for setbacks in (0, 1, 3):
        config, model, optimizer = begin(dataset, training__steps=5)
        seen = list(events(dataset, config, model, optimizer, Progress(setbacks=setbacks)))
        rates.append(np.array([e.lr for e in seen if isinstance(e, Logged)]))
    assert np.array_equal(rates[0], 2 * rates[1])
    assert np.array_equal(rates[0], 8 * rates[2])


def test_after_the_last_setback_the_error_names_the_step_and_the_cause() -> None:
    dataset = image_dataset()
    config, model, optimizer = begin(
        dataset,
        optimizer__lr=1e30,
        training__epochs=3,
        training__log_every=50,
        optimizer__schedule="constant",
    )
    assert isinstance(list(events(dataset, config, model, optimizer))[-1], SetBack)
    progress = Progress(setbacks=training.SETBACKS)
    with pytest.raises(LatlasError, match=r"step [2-5]: the (loss|gradient) is not finite.*learning rate"):
        list(events(dataset, config, model, optimizer, progress))


LONG = training.Plan(steps=1000, per_epoch=5, warmup=0)  # 200 epochs


def stops_at(scores: np.ndarray, length: training.Plan = LONG) -> int:
    """The number of validations, one an epoch, after which training stops by itself; all of them if it does not."""
    rows = [(length.per_epoch * (i + 1), float(score)) for i, score in enumerate(scores)]
    for count in range(1, len(rows) + 1):
        if training.clearly_worse(rows[:count], length):
            return count
    return len(rows)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", ["normal", "heavy"])
def test_validation_that_is_only_noisy_never_stops_training(seed: int, noise: str) -> None:
    """On a plateau, and on one that rises at its end as it does where the learning rate falls."""
    rng = np.random.default_rng(seed)
    jitter = rng.normal(size=200) if noise == "normal" else rng.standard_t(3, size=200)
    rise = 5 * (1 - np.exp(-np.arange(200) / 20)) + 3 / (1 + np.exp(-(np.arange(200) - 160) / 5))
    assert stops_at(rise + jitter) == 200


@pytest.mark.parametrize("seed", range(5))
def test_validation_that_gets_worse_for_good_stops_it_soon(seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = np.arange(200)
    scores = np.where(at < 60, at, 60 - 0.5 * (at - 60)) + rng.normal(size=200)
    assert 60 + 40 < stops_at(scores) < 60 + 60
    assert stops_at(np.where(at < 60, at, 60.0) + rng.normal(size=200)) == 200


def test_a_part_is_judged_by_its_own_length() -> None:
    """A fifth of the 400 steps of the part, from step 600 on, and not of all 1,000."""
    part, falling = replace(LONG, start=600), np.concatenate([np.arange(40.0), 40 - np.arange(40.0)])
    rows = [(600 + 5 * (i + 1), float(score)) for i, score in enumerate(falling)]
    stopped = [n for n in range(1, 80) if training.clearly_worse(rows[:n], part)]
    assert 40 + 16 <= stopped[0] <= 40 + 24
    assert not training.clearly_worse([], part)


@pytest.mark.parametrize(
    ("epochs", "start", "every"),
    [(1, 0, 1), (500, 0, 1), (501, 0, 2), (2500, 0, 5), (2500, 2400, 1), (0.5, 0, 1)],
)
def test_a_run_is_validated_at_most_five_hundred_times(epochs: float, start: int, every: int) -> None:
    length = training.Plan(steps=int(4 * epochs), per_epoch=4, warmup=0, start=4 * start)
    assert length.validated == 4 * every


def test_rare_validations_have_the_means_of_all_epochs_since_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = image_dataset()
    settings = {"training__epochs": 6, "optimizer__lr": 1e-30, "training__precision": "float64"}
    monkeypatch.setattr(training, "MOST_VALIDATIONS", 3)
    config, model, optimizer = begin(
        dataset, posterior__name="point", objective__name="reconstruction", **settings
    )
    ends = [e for e in events(dataset, config, model, optimizer) if isinstance(e, EpochEnded)]
    assert [(e.step, e.epoch) for e in ends] == [(10, 2), (20, 4), (30, 6)]
    whole = evaluate(model, batches(dataset, "train", model)).distortion
    assert all(e.values["distortion"] == pytest.approx(whole, rel=1e-9) for e in ends)


@pytest.mark.parametrize(
    ("rows", "kind", "steps"),
    [
        (486, "table", 5000),
        (60, "table", 5000),
        (50_000, "table", 5000),
        (7200, "image", 2500),
        (113, "image", 200),
    ],
)
def test_the_default_length_is_one_of_steps_and_ends_by_validation(rows: int, kind: str, steps: int) -> None:
    dataset = (
        table_dataset(np.random.default_rng(0).normal(size=(20, 3))) if kind == "table" else image_dataset(40)
    )
    dataset = replace(dataset, train=split(np.repeat(dataset.train.x[:1], rows, 0)))
    config = resolve(configuration.recipe("vae"), dataset)[0]
    assert training.plan(config, rows).steps == pytest.approx(steps, rel=0.03)
    assert config.training.patience == "clearly-worse"
    given = configuration.override(configuration.recipe("vae"), {"training.epochs": 3}, "test")
    assert resolve(given, dataset)[0].training.patience is None
    unheld = replace(dataset, valid=dataset.valid.take(slice(0, 0)))
    assert resolve(configuration.recipe("vae"), unheld)[0].training.patience is None


def test_clipping_bounds_the_gradient_but_logs_its_norm() -> None:
    dataset = image_dataset()
    moved = {}
    for clip in (1e-6, None):
        config, model, optimizer = begin(
            dataset, optimizer__clip=clip, training__steps=3, optimizer__name="adam", optimizer__lr=1.0,
            optimizer__schedule="constant", optimizer__weight_decay=0.0,
        )  # fmt: skip
        before = [p.detach().clone() for p in model.parameters()]
        for group in optimizer.param_groups:
            group["eps"] = 1.0  # with so large an epsilon Adam's step shrinks with the gradient
        logged = [e for e in events(dataset, config, model, optimizer) if isinstance(e, Logged)]
        moved[clip] = max((p - b).abs().max().item() for p, b in zip(model.parameters(), before, strict=True))
        assert logged[0].values["grad_norm"] > 0.1
    assert moved[1e-6] < 1e-5 < moved[None]


def test_the_capacity_rises_with_the_steps_and_stays() -> None:
    config, _, _ = begin(image_dataset(), objective__capacity=6.0, objective__warmup=3, training__steps=9)
    length = training.plan(config, 160)
    assert [training.scheduled(config, length, step)[2] for step in range(5)] == [2.0, 4.0, 6.0, 6.0, 6.0]


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_the_optimiser_is_the_one_named(name: str) -> None:
    _, _, optimizer = begin(
        image_dataset(), optimizer__name=name, optimizer__betas=(0.8, 0.95), optimizer__weight_decay=0.03
    )
    assert type(optimizer).__name__.lower() == name
    assert all(group["betas"] == (0.8, 0.95) for group in optimizer.param_groups)
    assert all(group["weight_decay"] == 0.03 for group in optimizer.param_groups)


def test_every_step_and_seed_has_its_own_noise() -> None:
    assert len({training.step_seed(seed, step) for seed in (0, 1) for step in range(100)}) == 200
    dataset = image_dataset()
    config, model, optimizer = begin(dataset, training__steps=4, training__log_every=1, optimizer__lr=1e-30)
    terms = [e.values["log_pz"] for e in events(dataset, config, model, optimizer) if isinstance(e, Logged)]
    assert len(set(terms)) == 4


def test_seeds_change_weights_order_and_noise() -> None:
    dataset = image_dataset()
    (_, first, _), (_, again, _), (_, other, _) = (begin(dataset, seed=seed) for seed in (0, 0, 1))
    weights = [model.encoder[1].weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_evaluation_uses_its_seed_and_its_draws() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=3, training__precision="float64")
    data = batches(dataset, "test", model)
    x = data(np.arange(len(data)))
    with torch.no_grad():
        p = model(x, samples=3, generator=torch.Generator().manual_seed(7))
        mean = model.likelihood.mean(model.raw(model.infer(x).mean[None])[0])
    result = evaluate(model, data, samples=3, seed=7)
    assert result.elbo == pytest.approx(p.elbo.mean().item(), rel=1e-9)
    assert result.elbo_stderr == pytest.approx(p.elbo.std().item() / math.sqrt(len(data)), rel=1e-9)
    assert result.mse == pytest.approx((mean - x).square().mean().item(), rel=1e-9)


def test_evaluation_leaves_batch_statistics_alone() -> None:
    dataset = image_dataset(height=8, width=8)
    _, model = made(dataset, network__name="conv", network__batch_norm=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()
    evaluate(model, batches(dataset, "test", model))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_numbers_that_are_not_finite_are_refused_with_the_cause() -> None:
    dataset = image_dataset()
    _, model = made(dataset, model__latent=3)
    with torch.no_grad():
        model.encoder[-1].bias.fill_(math.inf)
    with pytest.raises(LatlasError, match=r"not finite: the model has diverged.*lower learning rate"):
        evaluate(model, batches(dataset, "test", model))


def test_training_draws_no_global_randomness() -> None:
    dataset = image_dataset()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    config, model, optimizer = begin(dataset, training__steps=3)
    list(events(dataset, config, model, optimizer))
    assert torch.equal(before, torch.get_rng_state())


def ppca_optimum(x: np.ndarray, latent: int) -> tuple[float, float, float]:
    """Best mean log p(x), mean KL and sigma^2 of probabilistic PCA (Tipping and Bishop 1999)."""
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    noise = values[latent:].mean()
    d = len(values)
    log_p = -0.5 * (
        d * math.log(2 * math.pi) + np.log(values[:latent]).sum() + (d - latent) * math.log(noise) + d
    )
    return float(log_p), float(0.5 * np.log(values[:latent] / noise).sum()), float(noise)


def correlated(n: int = 512, d: int = 6) -> np.ndarray:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d))
    return x - x.mean(0)


def exact_elbo(model: Model, x: np.ndarray) -> tuple[float, float]:
    """The bound of a linear Gaussian model with the expectation over z exact, and the rate, both means over rows."""
    weights = model.decoder.output.weight.detach()
    with torch.no_grad():
        tensor = torch.from_numpy(x)
        q = model.infer(tensor)
        at_mean = model.likelihood.log_prob(model.raw(q.mean[None]), tensor)[0]
        spread = (q.stddev.square() * weights.square().sum(0)).sum(1)
        rate = q.kl_standard_normal().sum(1)
        elbo = at_mean - 0.5 * spread / model.likelihood.sigma**2 - rate
    return elbo.mean().item(), rate.mean().item()


def test_the_linear_vae_reaches_probabilistic_pca() -> None:
    """Exactly: the best ELBO of a linear VAE is the best log-likelihood of pPCA, within 0.02 nats by training."""
    x = correlated()
    dataset = table_dataset(x)
    config, model, optimizer = begin(
        dataset, network__name="linear", model__latent=2, training__precision="float64", training__steps=700,
        training__batch_size=512, objective__samples=4, optimizer__lr=0.03, optimizer__weight_decay=0.0,
    )  # fmt: skip
    for _ in events(dataset, config, model, optimizer):
        pass
    elbo, rate = exact_elbo(model, x)
    best, best_rate, noise = ppca_optimum(x, 2)
    assert best - 0.02 < elbo <= best + 1e-9
    assert rate == pytest.approx(best_rate, abs=0.1)
    assert model.likelihood.sigma.item() ** 2 == pytest.approx(noise, rel=0.03)
    sampled = evaluate(model, Batches(dataset.test, dataset.scaling, CPU, torch.float64), samples=200)
    assert sampled.elbo == pytest.approx(elbo, abs=0.05)


@pytest.mark.parametrize(("factor", "collapsed"), [(1.3, True), (0.5, False)])
def test_a_mode_collapses_exactly_when_beta_sigma_squared_exceeds_its_variance(
    factor: float, collapsed: bool
) -> None:
    """With sigma^2 fixed and weight beta, mode i collapses when l_i <= beta sigma^2 (Lucas et al. 2019)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, 4)) * [1.5, 0.5, 0.3, 0.2]
    x = (x - x.mean(0)) @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
    variance = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1][0]
    dataset = table_dataset(x)
    config, model, optimizer = begin(
        dataset, network__name="linear", model__latent=1, training__precision="float64", training__steps=500,
        training__batch_size=512, objective__samples=4, optimizer__lr=0.03, optimizer__weight_decay=0.0,
        likelihood__sigma=1.0, objective__beta=factor * variance,
    )  # fmt: skip
    for _ in events(dataset, config, model, optimizer):
        pass
    _, rate = exact_elbo(model, x)
    assert (rate < 0.005) == collapsed
    if not collapsed:
        assert rate > 0.1


def test_the_linear_autoencoder_reaches_pcas_error() -> None:
    x = correlated()
    dataset = table_dataset(x)
    config, model, optimizer = begin(
        dataset, network__name="linear", model__latent=2, training__precision="float64", training__steps=400,
        training__batch_size=512, posterior__name="point", objective__name="reconstruction",
        likelihood__sigma=math.sqrt(0.5), optimizer__lr=0.03, optimizer__weight_decay=0.0,
    )  # fmt: skip
    for _ in events(dataset, config, model, optimizer):
        pass
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    best = values[:-2].sum() / 6
    error = evaluate(model, batches(dataset, "test", model)).mse
    assert best * (1 - 1e-9) <= error < best * 1.001
    decoder = np.linalg.qr(model.decoder.output.weight.detach().numpy())[0]
    angles = np.linalg.svd(decoder.T @ vectors[:, -2:])[1]
    np.testing.assert_allclose(angles, 1, atol=1e-4)
