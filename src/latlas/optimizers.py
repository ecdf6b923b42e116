"""The optimiser of a run, and one step of it: a step that is not finite changes nothing."""

from __future__ import annotations

import inspect
import math
import sys
from typing import Any

import torch
from torch import Tensor

from latlas.models import Model
from latlas.settings import Config

ASKED = (
    "cpu",
)  # kinds of devices that may be asked for a number: there it costs less than a pass over the gradients


def optimizer_for(config: Config, model: Model) -> torch.optim.Optimizer:
    """The optimiser of the configuration, fused: one kernel per step instead of several per parameter."""
    kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    options = config.optimizer
    return _uncompiled(kinds[options.name])(
        model.parameters(), lr=options.lr, betas=options.betas, eps=options.eps,
        weight_decay=options.weight_decay, fused=True,
    )  # fmt: skip


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
    if norm.device.type in ASKED:
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
