"""Several processes that train one run: who takes part, and all that they say to each other.

latlas joins the processes that a launcher has started (torchrun, srun, Ray Train, Accelerate) and launches none. They
are known by RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in the environment, or by a process group that is there.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from latlas.draws import Share
from latlas.errors import InputError, LatlasError

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
STEP = timedelta(minutes=10)  # a process that does not answer for so long during a step is lost
PATIENT = timedelta(days=7)  # while the first process measures or draws, the others wait
LOOK = 10  # on a GPU a request to stop is looked for every so many steps: each look waits for the device
HEARD = 5.0  # seconds that the process with the store waits for the others to hear why it fails
_WORD = "why"  # the key of the store under which a process that fails says why
_calls = itertools.count(1)
_store: Any = None  # of the launcher, or of the first process, as long as this process lives


class Lost(LatlasError):
    """Another process is gone, or does not answer."""


def ranks() -> tuple[int, int]:
    """This process's rank and the number of processes, by the process group or the environment; (0, 1) alone.

    Raises InputError for an environment that says this incompletely.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return 0, 1
    names = ("RANK", "WORLD_SIZE", "MASTER_PORT")
    missing = [name for name in (*names, "MASTER_ADDR") if not os.environ.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE = {os.environ['WORLD_SIZE']} says that several processes train together, and"
            f" {', '.join(missing)} is not set: start them by torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and"
            " MASTER_PORT; for one process unset WORLD_SIZE"
        )
    for name in names:
        if not os.environ[name].isdecimal():
            raise InputError("expected a whole number", field=name, value=os.environ[name])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if rank >= size:
        raise InputError(f"expected a number below WORLD_SIZE = {size}", field="RANK", value=rank)
    return rank, size


def leads() -> bool:
    """Whether this process is the first one, which writes and prints."""
    return ranks()[0] == 0


@dataclass
class World:
    """The processes that train one run: `rank` is this one of `size`, and 0 leads: it alone writes and prints.

    `stop` says whether this process was asked to stop. The default is one process alone.
    """

    rank: int = 0
    size: int = 1
    stop: Callable[[], bool] = lambda: False
    store: Any = None
    waiting: Any = None  # the group in which processes wait for each other
    steps: Any = None  # the group in which they add up gradients
    asked: Tensor | None = None  # above 0 where a process was asked to stop
    call: int = 0  # the number of this training among those of the process
    began: bool = False  # whether the process group was begun here, and not by the launcher

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def share(self, items: int) -> Share | None:
        """This process's share of a batch of so many items; None where it takes all."""
        if self.alone:
            return None
        return Share.of(self.rank, self.size, items)

    def on(self, device: torch.device) -> torch.device:
        """The device of this process; from here on gradients can be added up.

        Raises InputError for a device on which processes cannot train together.
        """
        if self.alone:
            return device
        if device.type not in ("cpu", "cuda"):
            raise InputError("several processes train on cpu or cuda", field="device", value=device.type)
        if device.type == "cuda":
            here, mine = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", self.rank))
            if device.index is not None or mine >= here:
                raise InputError(
                    f"each process takes a GPU of its own, and this machine has {here}: name cuda without a number, and"
                    f" start at most {here} processes here",
                    field="device",
                    value=str(device),
                )
            device = torch.device("cuda", mine)
            torch.cuda.set_device(device)
        with _in_touch(self.size):
            self.steps = dist.new_group(backend="nccl" if device.type == "cuda" else "gloo", timeout=STEP)
        return device

    def normalising_together(self, model: M) -> M:
        """The model, with batch normalisation by the statistics of all processes."""
        if self.alone or self.steps is None or next(model.parameters()).device.type != "cuda":
            return model
        whole: M = nn.SyncBatchNorm.convert_sync_batchnorm(model, self.steps)
        return whole

    def wait(self) -> None:
        """Waits until all processes are here."""
        if not self.alone:
            with _in_touch(self.size):
                dist.barrier(group=self.waiting)

    def told(self, content: bytes = b"") -> bytes:
        """The first process's content, on every process."""
        if self.alone:
            return content
        with _in_touch(self.size):
            length = torch.tensor([len(content)])
            dist.broadcast(length, group_src=0, group=self.waiting)
            data = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content and self.leads else None
            data = torch.empty(int(length), dtype=torch.uint8) if data is None else data
            if len(data):
                dist.broadcast(data, group_src=0, group=self.waiting)
        return data.numpy().tobytes()

    def decided(self, work: Callable[[], T]) -> T:
        """What the first process's work gives, a value that JSON holds, on every process; the others wait for it."""
        if self.alone:
            return work()
        value: T = json.loads(self.told(json.dumps(work()).encode() if self.leads else b""))
        return value

    def agree(self, field: str, value: str) -> None:
        """Raises InputError where this process has another value than the first one."""
        first = self.decided(lambda: value)
        if value != first:
            raise InputError(
                f"differs between the processes of this run: here it is {value}, on the first one {first}",
                field=field,
            )

    def first(self, work: Callable[[], T]) -> T:
        """What the work gives, done by the first process before the others: they find what it downloads and keeps."""
        if self.leads:
            value = work()
            self.wait()
            return value
        self.wait()
        return work()

    def stopping(self, step: int) -> bool:
        """Whether any of the processes was asked to stop before this step's gradients were added up."""
        if self.alone or self.asked is None:
            return self.stop()
        return (self.asked.device.type == "cpu" or step % LOOK == 0) and bool(self.asked > 0)

    def add_up(self, parameters: Sequence[nn.Parameter], numbers: Tensor) -> Tensor:
        """Adds up the gradients of all processes, in place, and gives the sums of `numbers` (N,)."""
        wanted = [p for p in parameters if p.requires_grad]
        parts = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in wanted]
        request = numbers.new_tensor([float(self.stop())])
        everything = torch.cat([*parts, numbers.to(parts[0].dtype), request])
        with _in_touch(self.size):
            dist.all_reduce(everything, group=self.steps)
        self.asked = everything[-1]
        sums = everything.split([*(len(part) for part in parts), len(numbers), 1])
        for parameter, total in zip(wanted, sums, strict=False):
            if parameter.grad is not None:
                parameter.grad.copy_(total.view(parameter.shape))
        return sums[-2].to(numbers.dtype)

    def gather(self, tensors: Sequence[Tensor], share: Share) -> list[Tensor]:
        """Tensors (B, ...) of this share's items, as those of all the batch's items.

        Gradients flow to this process's items alone: those of a loss of the whole batch, added up over the processes,
        are its gradients.
        """
        own = torch.cat([tensor.flatten(1) for tensor in tensors], 1)
        shares = [Share.of(rank, self.size, share.total) for rank in range(self.size)]
        counts = [one.stop - one.start for one in shares]
        padded = torch.cat([own, own.new_zeros(max(counts) - len(own), own.shape[1])])
        parts = [torch.empty_like(padded) for _ in counts]
        with _in_touch(self.size):
            dist.all_gather(parts, padded.detach().contiguous(), group=self.steps)
        parts[self.rank] = padded
        whole = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
        columns = whole.split([tensor[0].numel() for tensor in tensors], 1)
        return [c.reshape(share.total, *t.shape[1:]) for c, t in zip(columns, tensors, strict=True)]

    def earlier_run(self) -> str:
        """The folder of the run that these processes trained before the launcher restarted them; "" without one."""
        kept, key = self._kept()
        return self.decided(lambda: kept.get(key).decode() if kept.check([key]) else "") if kept else ""

    def remember(self, run: str) -> None:
        """Keeps the run's folder with the launcher, where these processes find it when they are restarted."""
        kept, key = self._kept()
        if kept and self.leads:
            kept.set(key, run)

    def _kept(self) -> tuple[Any, str]:
        """What outlives a restart, torchrun's own store, or None, and the key in it: that of this call."""
        lasts = not self.alone and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return (_store if lasts else None), f"latlas/run/{self.call}"

    def say(self, error: BaseException) -> None:
        """Tells the others why this process fails. The first to do so prints it; `error.told` says that one has."""
        kind = next((k for k in _KINDS if isinstance(error, _KINDS[k])), "LatlasError")
        text = (
            str(error)
            if isinstance(error, LatlasError | KeyboardInterrupt)
            else f"{type(error).__name__}: {error}"
        )
        word = json.dumps({"rank": self.rank, "kind": kind, "text": text})
        error.told = False  # type: ignore[attr-defined]
        with contextlib.suppress(RuntimeError):  # the store is gone with the process that had it
            first = json.loads(self.store.compare_set(_WORD, "", word))
            error.told = first["rank"] != self.rank  # type: ignore[attr-defined]
            self.store.add("heard", 1)

    def heard(self, lost: Lost) -> BaseException:
        """The error of the process that said why it fails; where none did, that it is lost."""
        with contextlib.suppress(RuntimeError):
            if self.store.check([_WORD]):
                word = json.loads(self.store.get(_WORD))
                error = _KINDS[word["kind"]](f"{word['text']} (process {word['rank']} of {self.size})")
                error.told = True  # type: ignore[attr-defined]
                self.store.add("heard", 1)
                return error
        self.say(lost)
        return lost

    def leave(self, failed: bool) -> None:
        """Ends what was joined. A process that fails and has the store keeps it until the others have heard why."""
        groups = [self.waiting, self.steps]
        self.waiting = self.steps = None
        for group in [None] if self.began else groups:
            with contextlib.suppress(RuntimeError, ValueError, AssertionError):
                dist.destroy_process_group(group)
        groups.clear()
        end = time.monotonic() + HEARD * (failed and self.leads and not self._kept()[0])
        with contextlib.suppress(RuntimeError):
            while time.monotonic() < end and self.store.add("heard", 0) < self.size:
                time.sleep(0.02)


ALONE = World()
_KINDS: dict[str, type[BaseException]] = {
    "InputError": InputError, "KeyboardInterrupt": KeyboardInterrupt, "LatlasError": LatlasError
}  # fmt: skip


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """The processes that train together, or this one alone, inside the block.

    An error of one ends all of them: those that wait for it raise it too. Raises InputError as `ranks`, LatlasError
    where the processes do not find each other, and Lost where one of them is gone.
    """
    rank, size = ranks()
    if size == 1:
        yield World()
        return
    world, failed = _join(rank, size), True
    try:
        yield world
        failed = False
    except Lost as error:
        raise world.heard(error) from None
    except BaseException as error:
        world.say(error)
        raise
    finally:
        world.leave(failed)


def _join(rank: int, size: int) -> World:
    """Joins the process group of the environment, or the one that is there."""
    global _store
    call, began = next(_calls), not dist.is_initialized()
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        if not began:
            _store = dist.distributed_c10d._get_default_store()
        elif _store is None:
            _store = next(rendezvous("env://", rank, size, timeout=STEP))[0]
        # torchrun keeps one store over restarts: what an earlier try left there is none of ours.
        own = PrefixStore(f"latlas/{restarts}/{size}/{call}", _store)
        if began:
            dist.init_process_group("gloo", store=own, rank=rank, world_size=size, timeout=STEP)
        waiting = dist.new_group(backend="gloo", timeout=PATIENT)
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        why = " ".join(str(error).split())[:200]
        raise LatlasError(f"the {size} processes did not find each other at {place}: {why}") from None
    return World(rank, size, store=own, waiting=waiting, call=call, began=began)


@contextlib.contextmanager
def _in_touch(size: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        late = "imed out" in str(error)
        what = "did not answer in time" if late else "is gone: it was killed, or its machine stopped"
        raise Lost(f"one of the {size} processes {what}") from error
