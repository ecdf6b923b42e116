"""The only training loop: a generator that yields events; it draws, writes and prints nothing.

Batch order and noise are pure functions of seed and step, so a run resumes from weights, optimiser state and step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latlas import captured
from latlas.augmentation import augmented, seeded
from latlas.build import NORMALISING, steps_of
from latlas.checkpoints import Progress
from latlas.corruption import corrupt
from latlas.data import DataOptions, Dataset
from latlas.data.batches import Batches, Rows
from latlas.data.order import steps_per_epoch
from latlas.distributed import ALONE, World
from latlas.draws import Draws, Share, bernoulli
from latlas.errors import InputError, LatlasError
from latlas.models import Model, Pass, mixed
from latlas.objectives import Objective
from latlas.optimizers import update
from latlas.schedules import BETA_SCHEDULES, LR_SCHEDULES
from latlas.settings import OWN, AugmentConfig, Config
from latlas.text import counted

# Of few items an epoch is a step or two, and validating and saving after each would take longer than training.
MOST_VALIDATIONS = 500
MOST_LOGGED = (
    200_000  # steps with a row in the log, which is read as a whole: 80 MB of the 134 MB that are read
)


@dataclass(frozen=True)
class Plan:
    """The length of training: `steps` in total, `per_epoch` in a pass over the data, `warmup` until beta is full.

    `start` is the step from which the run is trained further, 0 for one that is not.
    """

    steps: int
    per_epoch: int
    warmup: int
    start: int = 0

    @property
    def epochs(self) -> int:
        """The number of epochs; the last one may be incomplete."""
        return -(-self.steps // self.per_epoch)

    @property
    def validated(self) -> int:
        """The steps between two validations: an epoch, or several where training would have more than 500 of them."""
        return self.per_epoch * -(-(self.steps - self.start) // (MOST_VALIDATIONS * self.per_epoch))

    def logged(self, every: int) -> int:
        """The steps between two rows of the log: so many, or more where the log would have too many rows."""
        return max(every, -(-self.steps // MOST_LOGGED))


# Training stops by itself where the score of validation has stayed below its best for so large a share of the steps, by
# more than so many times the usual difference between one validation and the next: what falls by chance comes back.
# Scores are medians of a few, as a single one may be high by chance.
PATIENT, JITTERS, RECENT, SMOOTHED = 0.2, 3.0, 20, 5


def clearly_worse(scores: Sequence[tuple[int, float]], length: Plan) -> bool:
    """Whether validation got worse for good: `scores` are (step, score) since the run was begun or trained further."""
    if len(scores) < 2 * SMOOTHED:
        return False
    steps, values = np.array(scores).T
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(values, SMOOTHED), axis=1)
    late = steps[SMOOTHED - 1 :] > steps[-1] - PATIENT * (length.steps - length.start)
    if late.all():
        return False
    jitter = float(np.median(np.abs(np.diff(values[-RECENT - 1 :]))))
    return bool(smooth[late].max() < smooth.max() - JITTERS * jitter)


@dataclass(frozen=True)
class Logged:
    """Means over the images since the last event of this kind; rate and elbo are None for a point posterior."""

    step: int
    epoch: float
    values: dict[str, float | None]
    lr: float
    beta: float
    images_per_second: float


@dataclass(frozen=True)
class EpochEnded:
    """A pass over the data is complete, or as many as `Plan.validated` says, or training is; `values` are means over
    the images since the last event of this kind.
    """

    step: int
    epoch: int
    values: dict[str, float | None]
    lr: float


@dataclass(frozen=True)
class SnapshotDue:
    """A step at which a snapshot of samples, codes and the decoded plane is written."""

    step: int


@dataclass(frozen=True)
class Skipped:
    """The loss or the gradient (`term`) of a step was not finite: it changed nothing but the number of the step."""

    step: int
    term: str


@dataclass(frozen=True)
class SetBack:
    """Too many steps were skipped, the last of them `step`: the caller has to go back to the checkpoint of the last
    whole epoch, or the start, and to halve the learning rate. No event follows.
    """

    step: int


def after_setback(kept: Progress, now: Progress) -> Progress:
    """The progress of a checkpoint that training goes back to from `now`: what it took stays, and one more setback."""
    return replace(
        kept, seconds=now.seconds, images=now.images, wall=now.wall, skipped=now.skipped, recently_skipped=[],
        setbacks=now.setbacks + 1,
    )  # fmt: skip


@dataclass(frozen=True)
class Stopped:
    """The caller requested a stop; the state is that after `step` whole steps."""

    step: int


@dataclass(frozen=True)
class Noted:
    """Something that was decided, for a person to read."""

    text: str


Event = Logged | EpochEnded | SnapshotDue | Skipped | SetBack | Stopped | Noted

UNCHANGED = AugmentConfig()
SEEDS = 64  # steps whose seeds are made together: between steps each alone finds nothing in the caches and takes .15 ms
REPEATED, WITHIN = 3, 100  # so many skipped steps within so many steps are a setback
SETBACKS = 3  # after so many, the next one ends training


def plan(config: Config, images: int, start: int = 0) -> Plan:
    """The plan of a resolved configuration for a number of training images, trained further from step `start`."""
    per_epoch = steps_per_epoch(images, config.training.batch_size)
    steps = steps_of(config, images)
    warmup = config.objective.warmup
    if warmup is None:
        warmup = max(1, steps // 4) if config.objective.schedule == "cyclical" else min(500, steps // 4)
    return Plan(steps, per_epoch, warmup, start)


def train(
    model: Model,
    data: Batches,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    config: Config,
    progress: Progress,
    world: World = ALONE,
) -> Iterator[Event]:
    """Trains from `progress.step` to the end of the plan, keeping `progress` up to date before each event.

    A step whose loss or gradient is not finite is skipped: weights, optimiser state and running averages stay, while
    batches and schedules go on. REPEATED of them within WITHIN steps are a SetBack; each one that the progress counts
    halves the learning rate. The clock stops while the caller handles an event. Raises LatlasError that names the step
    where the setbacks are used up.

    Of the processes of a `world` each computes its share of every batch; all get the same events.
    """
    length, noise = plan(config, len(data), progress.start), Noise(config, data)
    step_once = _stepper(model, objective, optimizer, config, world)
    take = yield from _taking(step_once, model, optimizer, config, data, noise, world)
    meter, due, every = Meter(), snapshot_steps(config, length), (yield from _spacing(length, config))
    if progress.step == 0:
        yield SnapshotDue(0)
    while progress.step < length.steps:
        start, (epoch, done) = time.perf_counter(), divmod(progress.step, length.per_epoch)
        batches = data.epoch(config.seed, epoch, config.training.batch_size, done)
        for rows in islice(batches, length.steps - progress.step):
            numbers = lr, beta, _ = scheduled(config, length, progress.step, progress.setbacks)
            noise.begin(progress.step, world.share(len(rows)))
            meter.add(len(rows), take(rows, numbers))
            progress.step += 1
            step, stopping = progress.step, world.stopping(progress.step)
            ended = step % length.validated == 0 or step == length.steps
            logging = step % every == 0 or ended
            skipped = meter.flush(progress) if logging or stopping or step in due else []
            progress.seconds += time.perf_counter() - start
            if (yield from _count(skipped, progress)):
                return
            if logging and progress.log_sums["images"]:
                speed = progress.images / progress.seconds
                values, progress.log_sums = means(progress.log_sums), {}
                yield Logged(step, step / length.per_epoch, values, lr, beta, speed)
            if step in due:
                yield SnapshotDue(step)
            if ended:
                values, progress.epoch_sums = means(progress.epoch_sums), {}
                yield EpochEnded(step, epoch + 1, values, lr)
            if stopping and step < length.steps:
                yield Stopped(step)
                return
            start = time.perf_counter()  # the caller's time is not counted, and waiting for data is


def _spacing(length: Plan, config: Config) -> Generator[Event, None, int]:
    """The steps between two rows of the log; says where they are more than was asked for."""
    asked = config.training.log_every
    if (every := length.logged(asked)) > asked:
        yield Noted(
            f"the log has a row for every {every:,} steps, not {asked:,}: it would be too long to be read"
        )
    return every


def _count(skipped: list[Skipped], progress: Progress) -> Generator[Event, None, bool]:
    """Counts skipped steps and passes them on; whether they are a setback."""
    for event in skipped:
        progress.skipped += 1
        progress.recently_skipped = [s for s in progress.recently_skipped if s > event.step - WITHIN]
        progress.recently_skipped.append(event.step)
        yield event
        if len(progress.recently_skipped) >= REPEATED:
            if progress.setbacks >= SETBACKS:
                raise LatlasError(_not_finite(event))
            yield SetBack(event.step)
            return True
    return False


StepOnce = Callable[[Tensor, captured.Numbers, Draws, Tensor | None], Tensor]


def _taking(
    step_once: StepOnce, model: Model, optimizer: torch.optim.Optimizer, config: Config, data: Batches, noise: Noise,
    world: World = ALONE,
) -> Generator[Event, None, captured.Take]:  # fmt: skip
    """What takes a step on the items of given rows, captured where it can be; says why where it should and cannot."""

    def take(rows: Rows, numbers: captured.Numbers) -> Tensor:
        x, target = batch_of(data, rows, config, noise)
        return step_once(x, numbers, noise.own, target)

    def plain(rows: Rows, numbers: captured.Numbers) -> Tensor:
        with seeded(noise.own):  # modules of one's own may draw noise, as dropout does
            return take(rows, numbers)

    if config.training.capture == "off" or data.device.type not in captured.DEVICES:
        return plain
    why = _uncaptured(config, data, world)
    if not why:
        try:
            items = min(len(data), config.training.batch_size)
            return captured.Step(take, items, model, optimizer, noise.streams)
        except captured.Unfit as error:
            why = str(error)
    yield Noted(f"steps are taken kernel by kernel, and not as one graph: {why}")
    return plain


def _uncaptured(config: Config, data: Batches, world: World) -> str:
    """Why the steps of a run are not captured; "" where nothing is known to be in the way."""
    if not world.alone:
        return "several processes share every batch"
    if data.resident is None:
        return "the items are read batch by batch"
    if data.augment is not None:
        return "a function of one's own augments them"
    parts = (config.network, config.posterior, config.prior, config.likelihood, config.objective)
    if config.training.capture == "auto" and OWN in {part.name for part in parts}:
        return "in a graph, Python in parts of one's own would run once (training.capture = on has it so)"
    return ""


def _stepper(
    model: Model, objective: Objective, optimizer: torch.optim.Optimizer, config: Config, world: World = ALONE
) -> StepOnce:
    """A function that takes one optimiser step on a batch, or a share of it, and gives TERMS, as means over the batch;
    NaN for a missing term. The loss compares outputs with the batch before it is corrupted, or with targets of its own.

    It waits for nothing that the device computes, and seeds nothing: so its kernels can be captured.
    """
    parameters, buffers, clip = list(model.parameters()), list(model.buffers()), config.optimizer.clip
    options, across = objective.needs, objective.across_items
    half = config.training.precision == "bfloat16"
    model.train()

    def step(x: Tensor, numbers: captured.Numbers, generator: Draws, target: Tensor | None) -> Tensor:
        (lr, beta, capacity), share = numbers, generator.share
        for group in optimizer.param_groups:
            group["lr"] = lr
        before = [buffer.clone() for buffer in buffers]
        inputs = corrupt(x, config.corruption, generator)
        with mixed(model, half):
            p = model(inputs, target=x if target is None else target, generator=generator, **options)
        seen = p if share is None or not across else _whole(p, across, share, world)
        loss = objective.loss(seen, beta, capacity)  # type: ignore[arg-type]  # a tensor does where it is captured
        for parameter in parameters:
            parameter.grad = None
        # The gradients of shares add up to the batch's: those of a mean have the weight of their items.
        (loss if share is None or across else share.weight * loss).backward()
        means = _means(loss, p)
        if share is not None:
            means = world.add_up(parameters, share.weight * means)
        norm = torch.nn.utils.get_total_norm([q.grad for q in parameters if q.grad is not None])
        update(optimizer, parameters, clip, means[0], norm, list(zip(buffers, before, strict=True)))
        return torch.cat([means[:1], norm.reshape(1), means[1:]])

    return step


@torch.no_grad()
def _means(loss: Tensor, p: Pass) -> Tensor:
    """TERMS without the norm of the gradient."""
    missing = torch.full_like(loss, math.nan)
    terms = (p.distortion, p.rate, p.log_pz, p.log_qz)
    return torch.stack([loss.detach(), *(missing if t is None else t.mean() for t in terms)])


def _whole(p: Pass, names: Collection[str], share: Share, world: World) -> Pass:
    """The parts of these names for all items of a batch, of a pass of a share of them; the other parts are None."""
    kept = {name: value for name in names if (value := getattr(p, name)) is not None}
    q = kept.pop("q", None)
    of_q = {} if q is None else {f.name: v for f in fields(q) if isinstance(v := getattr(q, f.name), Tensor)}
    axes = {name: int(name not in ("kl", "prior_draws")) for name in kept}  # draws come before items
    first = [value.movedim(axes[name], 0) for name, value in kept.items()]
    gathered = world.gather([*first, *of_q.values()], share)
    parts: dict[str, Any] = dict.fromkeys(f.name for f in fields(p))
    parts |= {name: value.movedim(0, axes[name]) for name, value in zip(kept, gathered, strict=False)}
    of_q = dict(zip(of_q, gathered[len(kept) :], strict=True))
    return Pass(**parts | {"q": None if q is None else replace(q, **of_q)})


# The terms that a step reports. log_pz and log_qz are log p(z) and log q(z | x) at the draws.
TERMS = ("loss", "grad_norm", "distortion", "rate", "log_pz", "log_qz")


class Meter:
    """Collects the terms of each step on the device, so that no step waits for a copy."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []
        self.images: list[int] = []

    def add(self, images: int, row: Tensor) -> None:
        self.rows.append(row)
        self.images.append(images)

    def flush(self, progress: Progress) -> list[Skipped]:
        """Adds the collected terms to the progress's sums, each step weighted by its images.

        Gives the steps that were skipped, which the sums leave out.
        """
        table = torch.stack(self.rows).cpu().double().numpy()
        first = progress.step - len(table) + 1
        finite = np.isfinite(table[:, :2])
        taken, images = finite.all(1), np.asarray(self.images, np.float64)
        weights = images[taken]
        sums = dict(zip(TERMS, weights @ table[taken], strict=True))
        sums["images"] = float(weights.sum())
        for total in (progress.epoch_sums, progress.log_sums):
            for key, value in sums.items():
                total[key] = total.get(key, 0.0) + float(value)
        progress.images += int(images.sum())
        self.rows, self.images = [], []
        return [
            Skipped(first + int(at), "gradient" if finite[at, 0] else "loss") for at in np.flatnonzero(~taken)
        ]


def _not_finite(event: Skipped) -> str:
    return (
        f"step {event.step}: the {event.term} is not finite, even after {SETBACKS} setbacks, each with half the"
        " learning rate; most likely it is too high (try a tenth of optimizer.lr) or gradients need a bound"
        " (optimizer.clip = 100); the last good checkpoint is kept"
    )


def means(sums: dict[str, float]) -> dict[str, float | None]:
    """Means per image from sums over images; None for a term that is missing or not finite, all without images."""
    images = sums["images"]
    terms = {k: v / images if images and math.isfinite(v) else None for k, v in sums.items() if k != "images"}
    distortion, rate = terms["distortion"], terms["rate"]
    return {**terms, "elbo": None if distortion is None or rate is None else -(distortion + rate)}


def scheduled(config: Config, length: Plan, step: int, setbacks: int = 0) -> tuple[float, float, float]:
    """The learning rate, the weight beta, and the capacity in nats at a step, counted from 0.

    Each setback halves the learning rate.
    """
    factor = LR_SCHEDULES[config.optimizer.schedule]
    peak = config.optimizer.lr * 0.5**setbacks
    lr = peak * factor(step, length.steps, length.per_epoch, length.start)
    beta = config.objective.beta * BETA_SCHEDULES[config.objective.schedule](step, length.warmup)
    capacity = (config.objective.capacity or 0.0) * BETA_SCHEDULES["linear"](step, length.warmup)
    return lr, beta, capacity


_NOISE, _PIXELS, _AUGMENT = 1, 2, 3  # streams of a seed; stream 0 is the order of the rows


def step_seed(seed: int, step: int, stream: int = _NOISE) -> int:
    """The seed of a step's noise; it has 32 bits, because torch's CPU generator uses no more."""
    return _seeds(seed, stream, step // SEEDS)[step % SEEDS]


@lru_cache(16)
def _seeds(seed: int, stream: int, block: int) -> list[int]:
    steps = range(block * SEEDS, (block + 1) * SEEDS)
    return [int(np.random.SeedSequence([seed, stream, step]).generate_state(1)[0]) for step in steps]


class Noise:
    """The generators of a step's random numbers: `own` is that of the model's, corruption's and modules' draws.

    Each is at a seed by the run's seed and the step when the step begins. The step itself seeds nothing.
    """

    def __init__(self, config: Config, data: Batches) -> None:
        self.own, self.pixels, self.moves, self.same_moves = self.streams = [
            Draws(data.device) for _ in range(4)
        ]
        self._seeds = [(self.own, config.seed, _NOISE)]
        if config.data.binarise == "dynamic":  # by a seed of the data, not that of weights and noise
            self._seeds.append((self.pixels, config.data.binarise_seed, _PIXELS))
        if data.augment is not None or config.augment != UNCHANGED:
            self._seeds += [(moves, config.seed, _AUGMENT) for moves in (self.moves, self.same_moves)]

    def begin(self, step: int, share: Share | None = None) -> None:
        """Seeds the generators for a step, of whose batch this process computes a `share`."""
        for generator, seed, stream in self._seeds:
            generator.manual_seed(step_seed(seed, step, stream))
        self.share = share

    @property
    def share(self) -> Share | None:
        return self.own.share

    @share.setter
    def share(self, share: Share | None) -> None:
        for generator in self.streams:
            generator.share = share


def batch_of(data: Batches, rows: Rows, config: Config, noise: Noise) -> tuple[Tensor, Tensor | None]:
    """The items of a step, binarised and augmented as the configuration says, and their targets, augmented alike, where
    they have some; of a shared batch, those of this process's share.
    """
    share = noise.share
    if share is not None and data.augment is not None:  # which may mix the items of a batch
        noise.share = None
        x, target = batch_of(data, rows, config, noise)
        noise.share = share
        return x[share.rows], None if target is None else target[share.rows]
    rows = rows if share is None else rows[share.rows]
    x, target = binarised(data(rows), config.data, noise.pixels), data.targets_of(rows)
    if data.augment is not None or config.augment != UNCHANGED:
        x = augmented(x, config.augment, data.augment, noise.moves)
        if target is not None:
            target = augmented(target, config.augment, data.augment, noise.same_moves)
    return x, target


def binarised(x: Tensor, options: DataOptions, generator: torch.Generator) -> Tensor:
    """The batch of a step: x itself, or a draw from Bernoulli(x) if data are binarised dynamically."""
    return bernoulli(x, generator) if options.binarise == "dynamic" else x


def snapshot_steps(config: Config, length: Plan) -> set[int]:
    """The steps after which snapshots are written: at the configured interval, or about 15, always with the last."""
    options = config.training
    every = options.snapshot_epochs and options.snapshot_epochs * length.per_epoch
    every = every or options.snapshot_every
    if every is not None:
        return {*range(every, length.steps, every), length.steps}
    return {length.start + round((length.steps - length.start) * i / 15) for i in range(1, 16)}


def check_shared(
    world: World, config: Config, model: Model, device: torch.device, dataset: Dataset
) -> list[str]:
    """Notes on how processes share the batches of a run; none for one process alone.

    Raises InputError for a budget of time, for batch normalisation on a CPU or of batches with fewer items than there
    are processes, and where a process read other data than the first one, or in another order.
    """
    if world.alone:
        return []
    if config.training.budget:
        raise InputError(
            f"the time of {world.size} processes is not measured beforehand: give steps or epochs",
            field="training.budget",
            value=config.training.budget,
        )
    if config.training.method == "pca":
        return ["training.method = pca is a closed form: the first process fits it alone"]
    world.agree("data.source", dataset.fingerprint)
    world.agree("data.memory", "windows" if dataset.on_disk else "resident")
    size, images = config.training.batch_size, len(dataset.train)
    least = images % size if images % size > 1 else min(images, size)
    if any(isinstance(m, NORMALISING) for m in model.modules()) and (
        device.type == "cpu" or least < world.size
    ):
        raise InputError(
            f"batch normalisation needs whole batches, and {world.size} processes share them: on cuda they do so for"
            f" batches of {world.size} items or more, on a CPU not at all; take one process, or network.batch_norm ="
            " false where the network reads it",
            field="network.name",
            value=config.network.name,
        )
    notes = [f"{world.size} processes train this run: each takes its share of every batch"]
    if least < world.size:
        notes.append(f"a batch of {least} leaves {counted(world.size - least, 'process', 'processes')} idle")
    if any(isinstance(m, torch.nn.modules.dropout._DropoutNd) for m in model.modules()):
        notes.append(
            "each process draws dropout for its share: another number of processes draws it otherwise"
        )
    return notes
