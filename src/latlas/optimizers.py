"""The optimiser of a run, and one step of it: a step that is not finite changes nothing."""

from __future__ import annotations

import inspect
import math
import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Parameter
from torch.nn.modules.conv import _ConvNd

from latlas import scales
from latlas.models import Model
from latlas.settings import Config

# Of Muon: the largest smaller side of a matrix that is turned, the momentum, and the root mean square of a step's
# values in learning rates.
WIDEST, MOMENTUM, SIZE = 256, 0.95, 0.45
# Where a matrix's gradient vanishes, its steps fade once the momentum's norm is below a quarter of the largest one of
# late, which falls by a hundredth in a step. Else a momentum, however small, would be followed for hundreds of steps.
FADING, FORGOTTEN = 4.0, 0.99
SMALLEST = 1e-15  # norm of a momentum that counts
EVERY = 8  # steps on a CPU with the same factor: it changes slowly, and takes as long as all else
# a x + b x^3 + c x^5: TIMES steps of it bring numbers from .02 to 1 to between .7 and 1.2
QUINTIC, TIMES = (3.4445, -4.7750, 2.0315), 3


def optimizer_for(config: Config, model: Model) -> torch.optim.Optimizer:
    """The optimiser of the configuration, fused: one kernel per step instead of several per parameter."""
    options, parameters = config.optimizer, list(model.parameters())
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if options.name == "muon":
        turned = matrices(model)
        known = {id(one) for one in turned}
        groups = [{"params": turned}, {"params": [one for one in parameters if id(one) not in known]}]
    return _uncompiled(KINDS[options.name])(
        groups,
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        weight_decay=options.weight_decay,
        fused=True,
    )


def matrices(model: Model) -> list[Parameter]:
    """The weights that Muon turns: those of dense layers and convolutions of encoder and decoder whose smaller side has
    at most WIDEST numbers; beyond it a turn takes longer than the step. Checkpoints keep their order.
    """
    modules = (module for network in (model.encoder, model.decoder) for module in network.modules())
    weights = (module.weight for module in modules if isinstance(module, Linear | _ConvNd))
    found = {id(one): one for one in weights if isinstance(one, Parameter) and one.numel()}
    return [one for one in found.values() if 1 < _side(one) <= WIDEST]


def _side(weight: Tensor) -> int:
    """The smaller side of the matrix with a row for each item of the first axis."""
    return min(len(weight), weight.numel() // len(weight))


def _uncompiled(kind: type[torch.optim.Adam]) -> type[torch.optim.Adam]:
    """The optimiser without the import of torch's compiler at its first call, which takes seconds, and without what
    names its steps to a profiler, which takes a tenth of a millisecond of each.

    torch.optim tells the compiler there what to leave alone; nothing is compiled here unless it is imported already.
    """
    if "torch._dynamo" in sys.modules:
        return kind
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    own: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    own["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    own["step"].hooked = True
    return type(kind.__name__, (kind,), own)


_ADAMS = inspect.unwrap(torch.optim.Adam.step)


class Muon(torch.optim.AdamW):
    """AdamW where the weights W of the first group, which are matrices, take steps of a turned momentum (Jordan et al.
    2024, Muon; that a step's size is that of AdamW's is due to Liu et al. 2025):

        M <- mu M + (1 - mu) G,  U = mu M + (1 - mu) G,  O = (U U^T)^(-1/2) U,  W <- (1 - lr decay) W - lr s O / rms(O)

    The directions of O are of about equal length, but for those in which U is below a fiftieth of its norm: small
    gradients count as well. s is SIZE, and less where the gradient vanishes. The factor (U U^T)^(-1/2), or that of
    the other side where it is smaller, comes from steps of Newton and Schulz.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # nobody gives a closure
        turned, others = self.param_groups
        self.param_groups = [others]
        try:
            _ADAMS(self)
        finally:
            self.param_groups = [turned, others]
        bad: Tensor | None = getattr(self, "found_inf", None)
        for parameter in turned["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            state |= {} if state else _begun(parameter)
            # The loop's own skip is left to the device, which is not to be waited for.
            kept = [] if bad is None else [(one, one.clone()) for one in (parameter, *state.values())]
            _turn(parameter, state, turned["lr"], turned["weight_decay"])
            for one, old in kept:
                one.copy_(torch.where(bad == 0, one, old))  # type: ignore[arg-type]  # there is one


def _begun(parameter: Tensor) -> dict[str, Tensor]:
    """The state of a matrix before its first step."""
    side, step = _side(parameter), torch.zeros((), device=parameter.device)
    largest, factor = parameter.new_zeros(()), parameter.new_zeros(side, side)
    return {"step": step, "largest": largest, "momentum": torch.zeros_like(parameter), "factor": factor}


@cache
def _quick(device: str, dtype: torch.dtype) -> torch.dtype:
    """The precision of a turn, which need not be exact: that in which the device multiplies matrices fastest."""
    half = device == "cuda" or (device == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False))
    return torch.bfloat16 if half and dtype == torch.float32 else dtype


def _turn(parameter: Parameter, state: dict[str, Tensor], lr: float | Tensor, decay: float) -> None:
    grad, momentum, factor = parameter.grad, state["momentum"], state["factor"]
    assert grad is not None
    quick = _quick(parameter.device.type, parameter.dtype)
    wanted = grad.lerp(momentum.lerp_(grad, 1 - MOMENTUM), MOMENTUM).flatten(1)
    norm = wanted.norm()
    largest = state["largest"].mul_(FORGOTTEN).copy_(torch.maximum(state["largest"], norm))
    wanted = (wanted / norm.clamp(min=SMALLEST)).to(quick)
    wide = wanted.shape[0] <= wanted.shape[1]
    # To ask for the number of the step would make other devices wait, and there the factor takes no time.
    if parameter.device.type not in scales.ASKED or state["step"].item() % EVERY == 0:
        factor.copy_(_inverse_root(wanted if wide else wanted.mT))
    factor = factor.to(quick)
    turned = (factor @ wanted if wide else wanted @ factor).to(parameter.dtype)
    size = SIZE * math.sqrt(turned.numel()) / turned.norm().clamp(min=1e-6)
    size *= (FADING * norm / largest.clamp(min=SMALLEST)).clamp(max=1.0)
    size *= lr.to(size.dtype) if isinstance(lr, Tensor) else lr
    parameter.mul_(1 - lr * decay).addcmul_(turned.view_as(parameter), size, value=-1)
    state["step"] += 1


def _inverse_root(x: Tensor) -> Tensor:
    """About (x x^T)^(-1/2) for x (rows, columns) of norm 1 at most: (rows, rows)."""
    a, b, c = QUINTIC
    squared, found = x @ x.mT, torch.eye(len(x), dtype=x.dtype, device=x.device)
    for _ in range(TIMES):
        by = torch.addmm(squared, squared, squared, beta=b, alpha=c)
        by.diagonal().add_(a)
        found, squared = by @ found, by @ (squared @ by)
    return found


KINDS: dict[str, type[torch.optim.Adam]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "muon": Muon,
}


def state_of(optimizer: torch.optim.Optimizer) -> list[dict[str, tuple[tuple[int, ...], torch.dtype]]]:
    """The shapes and types of what an optimiser keeps of each of its parameters, by name, in the order of its state."""
    number = ((), torch.float32)
    found: list[dict[str, tuple[tuple[int, ...], torch.dtype]]] = []
    for at, group in enumerate(optimizer.param_groups):
        for one in group["params"]:
            like = tuple(one.shape), one.dtype
            if isinstance(optimizer, Muon) and at == 0:
                begun = _begun(one.to("meta"))  # where tensors take no memory
                kept = {key: (tuple(value.shape), value.dtype) for key, value in begun.items()}
            else:
                kept = {"exp_avg": like, "exp_avg_sq": like, "step": number}
            found.append(kept)
    return found


@torch.no_grad()
def update(
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    clip: float | None,
    loss: Tensor,
    norm: Tensor,
    buffers: list[tuple[Tensor, Tensor]],
) -> None:
    """Takes the optimiser's step where loss and norm of the gradient are finite; else buffers get their old values."""
    if norm.device.type in scales.ASKED:
        if not math.isfinite(0 * loss.item() + 0 * norm.item()):
            for buffer, old in buffers:
                buffer.copy_(old)
            return
        if clip is not None and norm.item() + 1e-6 > clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
        optimizer.step()
        return
    # Decided on the device, as gradient scalers do: to ask here would make every step wait.
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    bad = 0 * loss + 0 * norm != 0  # NaN where one of them is not finite
    optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
    optimizer.step()
    for buffer, old in buffers:
        buffer.copy_(torch.where(bad, old, buffer))
