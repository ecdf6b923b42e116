"""A step that is captured and replayed gives what the plain one gives, and nothing in a step waits for the device."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import CPU, batches, image_dataset, made, table_dataset
from ranks import CASES, OWN
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from latlas import captured, optimizers, scales, training
from latlas import config as configuration
from latlas.brought import bring
from latlas.build import build, item_of, objective_of, resolve, statistics
from latlas.checkpoints import Progress
from latlas.data.batches import Batches
from latlas.distributed import World
from latlas.errors import InputError
from latlas.machine import slow_precision
from latlas.settings import Config, TrainingConfig
from latlas.training import Event, Logged, Noted

QUICK = {"model__latent": 2, "network__hidden": (8,), "training__batch_size": 13, "training__log_every": 1,
         "training__steps": 9, "network__activation": "silu"}  # fmt: skip
MORE: dict[str, dict[str, Any]] = {
    "laplace": {"likelihood__name": "laplace"},
    "logistic": {"likelihood__name": "discretised-logistic"},
    "continuous": {"likelihood__name": "continuous-bernoulli"},
    "batch norm": {"network__name": "conv", "network__batch_norm": True},
    "adam": {"optimizer__name": "adam", "optimizer__clip": 0.1, "optimizer__weight_decay": 0.1},
    "gated": {"network__activation": "gated"},
    "half": {"training__precision": "bfloat16"},
}  # fmt: skip
ALL = CASES | MORE
CAPTURED = [name for name in ALL if "augment" not in ALL[name].get("own", {})]


class Training:
    """A training that can be stopped and gone on with, of 28 items in batches of 13, 13 and 2."""

    def __init__(self, name: str, **settings: Any) -> None:
        given = {"training__precision": "float64"} | ALL[name] | settings
        own = {key: OWN[value] for key, value in given.pop("own", {}).items()}
        brought, parts = bring(own)
        self.dataset = image_dataset(35)
        changes = parts | {key.replace("__", "."): value for key, value in (QUICK | given).items()}
        changes |= {"training.capture": "on"} if own else {}
        recipe = configuration.override(configuration.recipe("vae"), changes, name)
        self.config: Config = resolve(recipe, self.dataset, brought)[0]
        self.model = build(self.config, item_of(self.dataset), statistics(self.dataset), brought)
        self.data = Batches(self.dataset.train, self.dataset.scaling, CPU, self.model.dtype, brought.augment)
        self.data.reside()
        self.objective = objective_of(self.config, self.dataset.shape, brought)
        self.optimizer = optimizers.optimizer_for(self.config, self.model)
        self.progress = Progress()

    def to(self, step: int = 9) -> list[Event]:
        stop = World(stop=lambda: self.progress.step >= step)
        return list(training.train(
            self.model, self.data, self.objective, self.optimizer, self.config, self.progress, stop
        ))  # fmt: skip

    @property
    def state(self) -> list[Tensor]:
        of_optimizer = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.model.state_dict().values(), *of_optimizer]


def logged(events: list[Event]) -> list[dict[str, float | None]]:
    return [event.values for event in events if isinstance(event, Logged)]


def same(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Captures on the CPU too; gives the number of replays so far."""
    monkeypatch.setattr(captured, "DEVICES", ("cpu",))
    return counted(monkeypatch, "_called")


def counted(monkeypatch: pytest.MonkeyPatch, method: str) -> list[int]:
    calls, original = [0], getattr(captured.Step, method)

    def count(step: captured.Step) -> None:
        calls[0] += 1
        original(step)

    monkeypatch.setattr(captured.Step, method, count)
    return calls


class Kernels(TorchDispatchMode):
    """Keeps each operation on tensors with its arguments, as a graph of kernels keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if func.namespace != "profiler":  # marks that an optimiser sets for it
            self.calls.append((func, args, kwargs or {}, given))
        return given


class Graph:
    """What torch.cuda.CUDAGraph does, for the CPU: a replay does the same with the same memory and the same numbers,
    and knows nothing of the Python that was there.
    """

    made: ClassVar[list[Graph]] = []

    def __init__(self) -> None:
        self.kernels, self.generators, self.replays = Kernels(), [], 0
        Graph.made.append(self)

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.generators.append(generator)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, before in self.kernels.calls:
            if func.is_view:
                continue
            now = func(*args, **kwargs)
            pairs = zip(*((x,) if isinstance(x, Tensor) else x or () for x in (before, now)), strict=True)
            for old, new in pairs:
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.detach().copy_(new.detach())


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets captures run as on CUDA, with a `Graph`; gives what was said to torch.cuda, in order."""
    said: list[str] = []

    class Stream(SimpleNamespace):
        def wait_stream(self, other: Stream) -> None:
            said.append(f"{self.name} waits for {other.name}")

    @contextlib.contextmanager
    def graph(into: Graph, stream: Stream) -> Iterator[None]:
        said.append(f"captured on {stream.name}")
        with into.kernels:
            yield

    class Default(SimpleNamespace):
        drawn, device = 0, torch.device("cuda")

        def get_offset(self) -> int:
            self.drawn += 4
            return self.drawn

        def clone_state(self) -> str:
            return "sound"

        def graphsafe_set_state(self, state: str) -> None:
            said.append(f"generator {state}")

    main, default = Stream(name="main"), Default()
    fakes: dict[str, Any] = {
        "Stream": lambda device: Stream(name="side", device=device),
        "current_stream": lambda: main,
        "current_device": lambda: 0,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
        "CUDAGraph": Graph,
        "graph": graph,
        "default_generators": [default],
        "get_sync_debug_mode": lambda: 0,
        "set_sync_debug_mode": lambda mode: said.append(f"waiting: {mode}"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(captured, "DEVICES", ("cpu",))
    monkeypatch.setattr(scales, "ASKED", ())
    monkeypatch.setattr(captured, "_is_gpu", lambda device: True)
    monkeypatch.setattr(Graph, "made", [])
    return said


@pytest.mark.parametrize("name", CAPTURED)
def test_nothing_is_left_to_python_in_a_graph(
    name: str, as_on_cuda: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learning rate, beta, capacity, rows and noise are read from memory: replays are the plain steps to the bit, with
    every objective, prior, posterior, likelihood and augmentation. Each third batch is a short one.
    """
    one, other = Training(name), Training(name)
    rows = logged(one.to())
    assert [graph.replays for graph in Graph.made] == [6]
    monkeypatch.setattr(captured, "DEVICES", ())
    assert logged(other.to()) == rows
    assert same(one.state, other.state)


def test_in_single_precision_too(on_cpu: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """There a replay calls the step with the same memory; each third batch is a short one, which is none."""
    for name in ("elbo", "beta", "moved", "vamp", "adam", "batch norm"):
        one, other = (Training(name, training__precision="float32") for _ in range(2))
        on_cpu[0] = 0
        one.to()
        assert on_cpu[0] == 6
        monkeypatch.setattr(captured, "DEVICES", ())
        other.to()
        monkeypatch.setattr(captured, "DEVICES", ("cpu",))
        assert same(one.state, other.state), name


def test_what_torch_is_told_and_in_which_order(as_on_cuda: list[str]) -> None:
    run = Training("moved")
    run.to()
    assert as_on_cuda == [
        "side waits for main",
        "waiting: error",
        "waiting: 0",
        "captured on side",
        "main waits for side",
    ]
    assert len(set(map(id, Graph.made[0].generators))) == 4
    assert not any(group["capturable"] for group in run.optimizer.param_groups)


@pytest.mark.parametrize(
    ("name", "stopped_at"), [("batch norm", 1), ("batch norm", 6), ("vamp", 4), ("half", 4)]
)
def test_a_captured_run_that_is_stopped_goes_on_to_the_bit(
    name: str, stopped_at: int, as_on_cuda: list[str]
) -> None:
    whole, cut, again = (Training(name, optimizer__lr=0.1) for _ in range(3))
    whole.to()
    cut.to(stopped_at)
    again.model.load_state_dict(cut.model.state_dict())
    again.optimizer.load_state_dict(copy.deepcopy(cut.optimizer.state_dict()))
    again.progress = cut.progress
    again.to()
    assert same(again.state, whole.state)


def test_recording_changes_nothing(on_cpu: list[int]) -> None:
    run = Training("batch norm")
    for steps in (0, 5):  # a new optimiser has no state yet
        run.to(steps)
        before, generator = [tensor.clone() for tensor in run.state], torch.get_rng_state()
        noise = training.Noise(run.config, run.data)
        step = training._stepper(run.model, run.objective, run.optimizer, run.config)
        assert list(training._taking(step, run.model, run.optimizer, run.config, run.data, noise)) == []
        after = run.state
        assert same(after[: len(before)], before)
        assert all(not tensor.any() for tensor in after[len(before) :])
        assert torch.equal(torch.get_rng_state(), generator)
        assert all(parameter.grad is None for parameter in run.model.parameters())


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


def test_a_step_that_cannot_be_captured_is_taken_plainly_and_says_so(
    as_on_cuda: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def failing(into: Graph, stream: Any) -> Iterator[None]:
        yield
        raise RuntimeError("operation not permitted\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch.cuda, "graph", failing)
    one, other = Training("elbo"), Training("elbo")
    assert notes(one.to()) == [
        "steps are taken kernel by kernel, and not as one graph: operation not permitted"
    ]
    assert as_on_cuda[-2:] == ["generator sound", "main waits for side"]
    monkeypatch.setattr(captured, "DEVICES", ())
    assert notes(other.to()) == []
    assert same(one.state, other.state)


class OnTheCpu(nn.Module):
    """Noise of torch's own generator of the CPU, which a graph would draw once."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(x.shape)


def test_why_steps_are_not_captured(as_on_cuda: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = Training("elbo")
    run.data.resident = None
    assert "batch by batch" in notes(run.to())[0]
    assert "a function of one's own augments them" in notes(Training("own augmentation").to())[0]
    auto = Training("own loss")
    auto.config = configuration.override(auto.config, {"training.capture": "auto"}, "capture")
    assert "training.capture = on" in notes(auto.to())[0]
    assert "several processes" in training._uncaptured(run.config, run.data, World(0, 2))
    off = Training("elbo", training__capture="off")
    assert (notes(off.to()), Graph.made) == ([], [])
    noisy = Training("elbo")
    noisy.model.encoder = nn.Sequential(noisy.model.encoder, OnTheCpu())
    assert "draws random numbers on the CPU" in notes(noisy.to())[0]


class Waits(TorchDispatchMode):
    """Fails where an operation asks the device for a value or for the size of its result."""

    ASKS = ("_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "_unique2",
            "unique_dim", "repeat_interleave", "bincount")  # fmt: skip

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        assert name not in self.ASKS, f"{name} waits for the device"
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            kinds = {index.dtype for index in args[1] if index is not None}
            assert not kinds & {torch.bool, torch.uint8}, f"{name} by a mask waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CAPTURED)
def test_no_step_waits_for_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scales, "ASKED", ())
    run = Training(name)
    noise = training.Noise(run.config, run.data)
    step = training._stepper(run.model, run.objective, run.optimizer, run.config)
    numbers = [torch.tensor(value, dtype=torch.float64) for value in (1e-3, 0.5, 1.0)]
    for at in range(2):
        noise.begin(at)
        with Waits():
            x, target = training.batch_of(run.data, torch.arange(13), run.config, noise)
            assert step(x, numbers, noise.own, target).shape == (len(training.TERMS),)


class Elsewhere(TorchDispatchMode):
    """Notes the operations that give a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if any(isinstance(x, Tensor) and x.device.type == "cpu" for x in tree_leaves(given)):
            self.names.add(str(func))
        return given


# The prior is sampled on the generator's device, and there is no generator of the device that stands for a GPU here; an
# objective of the tests makes a tensor on the CPU, and that device has no bfloat16.
ON_META = [name for name in CAPTURED if name not in ("mixture, mmd", "own loss", "half")]


@pytest.mark.parametrize("name", ON_META)
def test_no_step_leaves_the_device(name: str) -> None:
    """On the meta device, as on a GPU, tensors on the CPU do not mix with others, and no value can be asked for."""
    run = Training(name, training__precision="float32")
    noise = training.Noise(run.config, run.data)
    run.model.to("meta")
    assert run.data.resident is not None
    run.data.resident, run.data.device = run.data.resident.to("meta"), torch.device("meta")
    step = training._stepper(run.model, run.objective, run.optimizer, run.config)
    run.optimizer.step = lambda: None  # type: ignore[method-assign]  # its fused kernel is of no such device
    numbers = [torch.zeros((), device="meta") for _ in range(3)]
    elsewhere = Elsewhere()
    with elsewhere:
        x, target = training.batch_of(run.data, torch.arange(13, device="meta"), run.config, noise)
        terms = step(x, numbers, noise.own, target)
    assert terms.device.type == "meta"
    assert elsewhere.names <= {"aten.randn.generator", "aten.randint.generator"}


def test_asking_for_a_value_is_found_out() -> None:
    with pytest.raises(AssertionError, match="waits for the device"), Waits():
        float(torch.ones(3).sum())
    with pytest.raises(AssertionError, match="by a mask"), Waits():
        torch.ones(3)[torch.ones(3) > 0]


def test_rows_of_items_on_the_device_are_those_of_items_in_memory() -> None:
    dataset = table_dataset(np.random.default_rng(0).normal(size=(90, 5)))
    _, model = made(dataset)
    here, there = (batches(dataset, "train", model) for _ in range(2))
    there.reside()
    for first in (0, 2, 100):
        plain, rows = (list(data.epoch(3, 1, 16, first)) for data in (here, there))
        assert all(isinstance(batch, Tensor) for batch in rows)
        assert [batch.tolist() for batch in plain] == [batch.tolist() for batch in rows]
        assert all(torch.equal(here(a), there(b)) for a, b in zip(plain, rows, strict=True))
    assert torch.equal(there(np.arange(5)), here(np.arange(5)))


def test_networks_alone_compute_in_bfloat16() -> None:
    run = Training("half")
    kinds: list[torch.dtype] = []
    run.model.decoder.body[0].register_forward_hook(lambda *given: kinds.append(given[2].dtype))  # type: ignore[index]
    seen: Callable[..., Any] = run.model.likelihood.log_prob
    raws: list[torch.dtype] = []
    run.model.likelihood.log_prob = lambda raw, x: (raws.append(raw.dtype), seen(raw, x))[1]  # type: ignore[method-assign]
    run.to(2)
    run.model.means(torch.zeros(1, 2))
    assert kinds == [torch.bfloat16, torch.bfloat16, torch.float32]
    assert raws == [torch.float32, torch.float32]
    assert {tensor.dtype for tensor in run.state if tensor.is_floating_point()} == {torch.float32}
    half, single = (Training("elbo", training__precision=kind) for kind in ("bfloat16", "float32"))
    ends = [logged(one.to())[-1]["loss"] for one in (half, single)]
    assert ends[0] != ends[1]
    assert ends[0] == pytest.approx(ends[1], rel=0.02)


def test_bfloat16_where_it_is_slow_or_without_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    half = TrainingConfig(precision="bfloat16")
    for fast, notes in ((True, []), (False, ["float32 is faster"])):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast)
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        said = slow_precision(half, CPU)
        assert len(said) == len(notes)
        assert all(note in text for note, text in zip(notes, said, strict=True))
        assert slow_precision(TrainingConfig(), CPU) == []
    settings = {"training.method": "pca", "training.precision": "bfloat16"}
    with pytest.raises(InputError, match="takes no steps"):
        configuration.override(configuration.recipe("linear-ae"), settings, "test")


def benchmark() -> Any:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"
    spec = importlib.util.spec_from_file_location("gpu", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu"] = module  # where its dataclasses look for their module
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_the_benchmark_says_where_there_is_no_gpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert benchmark().main(["--out", str(tmp_path / "gpu.md")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_benchmark_runs_small_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "DEVICES", captured.DEVICES)
    out = tmp_path / "gpu.md"
    assert benchmark().main(["--device", "cpu", "--quick", "--out", str(out)]) == 0
    text = out.read_text("utf-8")
    assert text.count("the same bits") == 3
    assert "differ by 0.0e+00" in text
    assert "kernel by kernel, and not" not in text
