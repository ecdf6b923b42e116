"""The machine of a run: device, threads, memory and signals."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from latlas import stopping
from latlas.errors import InputError
from latlas.limits import LIMITS
from latlas.settings import TrainingConfig


def prepare(training: TrainingConfig) -> torch.device:
    """Sets threads and determinism for this process, and gives the device to train on.

    Raises InputError for a device that this machine lacks.
    """
    use_threads(training.threads)
    if training.deterministic:
        # cuBLAS gives equal bits only with a workspace of fixed size, and reads this before its first call.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    keep_memory()
    return choose_device(training.device)


def use_threads(count: int | None) -> None:
    """Sets the number of CPU threads of this process; None changes nothing.

    Raises InputError for less than one.
    """
    if count is None:
        return
    if not 1 <= count <= (most := LIMITS["threads"].most):
        why = "at least 1 is needed" if count < 1 else f"at most {most:,} are started"
        raise InputError(why, field="threads", value=count)
    torch.set_num_threads(count)


def choose_device(name: str) -> torch.device:
    """The named device; `auto` is CUDA, else MPS, else the CPU.

    Raises InputError for a device that this machine lacks.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind, _, number = name.partition(":")
    if not available.get(kind) or (number and int(number) >= torch.cuda.device_count()):
        names = ", ".join(k for k, present in available.items() if present)
        raise InputError(f"not on this machine (here: {names})", field="device", value=name)
    return torch.device(name)


def slow_precision(training: TrainingConfig, device: torch.device) -> list[str]:
    """A note where bfloat16 is asked for and this device has no instructions for it; none elsewhere."""
    if training.precision != "bfloat16":
        return []
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = platform.machine() not in ("x86_64", "AMD64") or torch.cpu._is_avx512_bf16_supported()
    what = "has no instructions for it, and float32 is faster"
    return [] if fast else [f"training.precision = bfloat16: this device, {device.type}, {what}"]


# Libraries whose versions decide what a run learns and measures.
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn")


def environment() -> dict[str, Any]:
    """The versions of Python and of the libraries that compute, the platform, the processor, and the commit of latlas
    where it runs from a checkout.
    """
    return {
        **{name: torch.__version__ if name == "torch" else metadata.version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "commit": commit(),
    }


@cache
def processor() -> str:
    """The name of the processor, or of its kind where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


@cache  # of the code as it was imported; Git would take longer than a small run's first steps
def commit() -> str | None:
    """The Git commit of latlas, with -dirty where files differ from it; None outside a checkout or without Git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None  # Git would look further up, and find the checkout that a virtual environment lies in
    git = ("git", "-C", str(root))
    head = _output(*git, "rev-parse", "HEAD")
    changed = head and _output(*git, "status", "-s", "-uno")
    return f"{head}-dirty" if changed else head or None


def _output(*command: str) -> str:
    """What a command prints; empty where it is missing, fails or takes long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.strip()


def keep_memory() -> None:
    """Keeps freed memory in the process (only with glibc), to avoid page faults at every step with large batches.

    What is larger than a step's tensors goes back: numbers of rows, or all items of a split.
    """
    if (libc := _glibc()) is not None:
        trim_threshold, mmap_threshold = -1, -3
        libc.mallopt(mmap_threshold, 2**26)
        libc.mallopt(trim_threshold, 2**31 - 1)


def give_back() -> None:
    """Gives freed memory back to the system (only with glibc): what reading has left is not needed for training."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> Any:
    """The C library, None where it is another one."""
    if not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError):
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "malloc_trim") else None
    return None


_ASKED: ContextVar[Callable[[], bool]] = ContextVar("asked", default=lambda: False)


@contextlib.contextmanager
def stopped_by(asked: Callable[[], bool]) -> Iterator[None]:
    """Inside the block what is `interruptible` also stops where this function says so, in any thread."""
    token = _ASKED.set(asked)
    try:
        yield
    finally:
        _ASKED.reset(token)


@contextlib.contextmanager
def interruptible(say: bool = True) -> Iterator[Callable[[], bool]]:
    """Inside the block the `stopping.signals` do not interrupt; the yielded function says whether one arrived, or
    whether what `stopped_by` names asks to stop. With `say` a line on standard error says that a signal arrived.

    A second signal interrupts at once, but for SIGHUP, which a terminal that closes sends more than once. Outside the
    main thread signals are not handled.
    """
    received: list[int] = []
    asked = _ASKED.get()

    def receive(number: int, frame: Any) -> None:
        if received and number != stopping.HANGUP:
            raise KeyboardInterrupt
        received.append(number)
        if say:
            print("stopping after this step", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    old = {number: signal.signal(number, receive) for number in stopping.signals()}
    try:
        yield lambda: bool(received) or asked()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
