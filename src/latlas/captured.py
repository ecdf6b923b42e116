"""A training step that is recorded once and replayed, so that no Python runs between its kernels and nothing waits.

On CUDA the record is a graph of kernels (`torch.cuda.CUDAGraph`). What it reads and writes stays where it is in memory:
weights, the optimiser's state, the rows of the batch, the scheduled numbers, and generators that are seeded before each
replay.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from latlas.augmentation import seeded
from latlas.data.batches import Rows

Numbers = Sequence[float | Tensor]  # the learning rate, beta and the capacity of a step
Take = Callable[[Rows, Numbers], Tensor]  # one step on the items of these rows; gives its terms

DEVICES = ("cuda",)  # kinds of devices on which steps are recorded; on any other a replay calls the step
WARM_UPS = 3  # steps before the one that is recorded: libraries choose their kernels at the first ones


class Unfit(Exception):
    """A step that cannot be recorded, and why."""


class Step:
    """Takes steps on whole batches of `items` by replaying one, and others by calling `take`.

    `generators` are those that `take` draws from, the first one that of the model's noise; all are seeded before each
    step. Recording leaves weights, optimiser and buffers as they were, so that every whole batch is a replay, in a run
    that is resumed as well.

    Raises Unfit for a step that waits for the device, draws on the CPU, or fails.
    """

    def __init__(
        self,
        take: Take,
        items: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.take, self.model, self.optimizer, self.generators = take, model, optimizer, generators
        like = next(model.parameters())
        self.device, self.gpu = like.device, _is_gpu(like.device)
        self.rows = torch.arange(items, device=self.device)
        # The kernel of the optimiser reads a learning rate in single precision, that of the CPU in double.
        of_rate = torch.float32 if self.device.type == "cuda" else torch.float64
        kinds = (of_rate, like.dtype, like.dtype)
        self.numbers = [torch.zeros((), dtype=kind, device=self.device) for kind in kinds]
        self.values: list[float | Tensor] = [0.0] * len(kinds)
        self.terms = torch.empty(0)
        self.draws_by_default = True
        self.replay = self._recorded()

    def __call__(self, rows: Rows, numbers: Numbers) -> Tensor:
        """The terms of one step on the items of these rows."""
        for at, value in enumerate(numbers):
            if value != self.values[at]:
                self.values[at] = value
                self.numbers[at].fill_(value)
        if len(rows) != len(self.rows):
            with seeded(self.generators[0]):
                return self.take(rows, self.numbers)
        self.rows.copy_(torch.as_tensor(rows), non_blocking=True)
        with seeded(self.generators[0]) if self.draws_by_default else contextlib.nullcontext():
            self.replay()
        return self.terms.clone()

    def _recorded(self) -> Callable[[], None]:
        """What replays a step."""
        before = {id(tensor): (tensor, tensor.detach().clone()) for tensor in self._state()}
        stream = torch.cuda.Stream(self.device) if self.gpu else None
        try:
            with _aside(stream):
                self._warm_up()
                return self._called if stream is None else self._captured(stream)
        except Exception as error:  # parts of one's own may raise anything
            first = error.__context__ or error  # the end of a capture that failed fails as well
            lines = [line.strip() for line in str(first).splitlines() if line.strip()]
            raise Unfit(lines[0] if lines else type(first).__name__) from error
        finally:
            with torch.no_grad():
                for tensor in self._state():
                    # An optimiser's running averages begin at 0.
                    tensor.copy_(before[id(tensor)][1]) if id(tensor) in before else tensor.zero_()
            self.optimizer.zero_grad()

    def _state(self) -> list[Tensor]:
        """Everything that a step changes."""
        of_optimizer = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.model.parameters(), *self.model.buffers(), *of_optimizer]

    def _warm_up(self) -> None:
        """Steps as `take` takes them; the last of them fails where it waits for the device."""
        for left in reversed(range(WARM_UPS)):
            with seeded(self.generators[0]), _never_waiting(self.gpu and not left):
                on_cpu, drawn = torch.default_generator.get_state(), self._drawn()
                self.take(self.rows, self.numbers)
                if self.gpu and not on_cpu.equal(torch.default_generator.get_state()):
                    raise Unfit("it draws random numbers on the CPU")
                self.draws_by_default = not self.gpu or self._drawn() != drawn

    def _drawn(self) -> int:
        """How far torch's own generator of a GPU has been drawn from."""
        return _default(self.device).get_offset() if self.gpu else 0

    def _called(self) -> None:
        self.terms = self.take(self.rows, self.numbers)

    def _captured(self, stream: torch.cuda.Stream) -> Callable[[], None]:
        graph, groups = torch.cuda.CUDAGraph(), self.optimizer.param_groups
        for generator in self.generators:
            graph.register_generator_state(generator)
        drawn_from = [g for g in (*self.generators, _default(self.device)) if g.device.type == "cuda"]
        sound = [(generator, generator.clone_state()) for generator in drawn_from]
        try:
            for group in groups:
                group["capturable"] = True
            with torch.cuda.graph(graph, stream=stream):
                self._called()
        except BaseException:
            # A capture that fails may leave generators in the middle of it, where nothing else can draw from them.
            for generator, state in sound:
                generator.graphsafe_set_state(state)
            raise
        finally:
            for group in groups:
                group["capturable"] = False
        return graph.replay


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def _default(device: torch.device) -> torch.Generator:
    """torch's own generator of a GPU."""
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]


@contextlib.contextmanager
def _aside(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Works on another stream inside the block, after all that was begun before it and before all that comes after."""
    if stream is None:
        yield
        return
    with torch.cuda.device(stream.device):
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            current.wait_stream(stream)


@contextlib.contextmanager
def _never_waiting(on: bool) -> Iterator[None]:
    """Inside the block what waits for a GPU fails: inside a capture it would, and leave torch in the middle of it."""
    if not on:
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():  # torch says that it does not find all of it
        warnings.simplefilter("ignore")
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)
