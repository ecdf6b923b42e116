"""Parts of one's own, probed before training: each fault is one line that names the part and what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from latlas.augmentation import Augment, augmented, seeded
from latlas.errors import InputError
from latlas.models import Model, Pass, evaluating
from latlas.objectives import Objective, OwnObjective
from latlas.posteriors import selected
from latlas.settings import AugmentConfig

PROBED = 4  # items
SEED = 1  # of the noise
SCATTERED = 8  # passes with terms of other sizes
CLOSE = 1e-3  # of the largest value: what a larger batch may change by rounding, or a mean over its halves

T = TypeVar("T")


def probe(model: Model, objective: Objective, x: Tensor, target: Tensor | None = None) -> Objective:
    """Probes a model and its objective on a few items x (B, *shape), its inputs, and targets of its outputs; the model
    stays as it is.

    Gives the objective, with what is found out about one of one's own: whether it asks for draws from the prior,
    whether it is a mean over items, and how it weighs the rate. Raises InputError for outputs of a wrong shape or type
    or that are not finite, for noise in evaluation mode, for state that is not in buffers, for a loss that is no scalar
    with a gradient, for parameters that no gradient reaches, and for those that the model does not hold.
    """
    model = copy.deepcopy(model)
    x = x[:PROBED]
    target = x if target is None else target[:PROBED]
    held = set(model.state_dict())
    with torch.no_grad(), evaluating(model):
        _check_encoder(model, x)
        _check_decoder(model, x)
    _check_held(model, held)
    _check_state(model, x)
    objective = _asking(model, objective, x, target)
    _check_loss(model, objective, x, target)
    return objective if not isinstance(objective, OwnObjective) else _measured(model, objective, x, target)


@contextmanager
def _blaming(field: str, what: str) -> Iterator[None]:
    """Turns whatever a part of one's own raises into an error that names the part."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise InputError(f"{what} fails ({type(error).__name__}: {text})", field=field) from None


def _check(wrong: bool, field: str, why: str) -> None:
    if wrong:
        raise InputError(why, field=field)


def _check_encoder(model: Model, x: Tensor) -> None:
    family, n = model.posterior_family, len(x)
    codes = _output(model.encoder, x, "the encoder")
    if isinstance(codes, tuple | list):
        raise InputError(
            f"the encoder gives {len(codes)} values, and one tensor ({n}, {family.outputs}) is expected: put them side"
            " by side, as torch.cat([mean, log_var], -1)",
            field="network",
        )
    _check_tensor(codes, x, "network", "the encoder")
    _check(
        tuple(codes.shape) != (n, family.outputs), "network",
        f"the encoder gives {tuple(codes.shape)} for {n} items, and the posterior {type(family).__name__} of"
        f" {model.latent} dimensions takes ({n}, {family.outputs})",
    )  # fmt: skip
    _check_repeatable(codes, _noisy(lambda: model.encoder(x)), "network", "the encoder")
    if n > 1:
        alone = torch.cat([model.encoder(x[:1]), model.encoder(x[1:])])
        _check(
            not _alike(alone, codes), "network",
            "the encoder gives other codes for an item if other items are beside it in evaluation mode: an item's code"
            " has to be its own (of batch normalisation, keep track_running_stats)",
        )  # fmt: skip
    with _blaming("posterior", "the posterior"):
        q = family(codes)
        z = q.rsample(torch.randn(2, n, model.latent).to(x))
        log_qz = q.log_prob(z)
    _check(
        tuple(z.shape) != (2, n, model.latent), "posterior",
        f"draws of shape {tuple(z.shape)}, expected (2, {n}, {model.latent}) for 2 draws of {n} items",
    )  # fmt: skip
    _check(
        family.has_density and (log_qz is None or tuple(log_qz.shape) != (2, n)), "posterior",
        f"log_prob has to give ({2}, {n}) for 2 draws of {n} items",
    )  # fmt: skip


def _check_decoder(model: Model, x: Tensor) -> None:
    n, shape, likelihood = len(x), model.item.shape, model.likelihood
    generator = torch.Generator(x.device).manual_seed(SEED)
    with _blaming("prior", "the prior"):
        prior = model.prior_value()
        z = prior.sample(n, torch.Generator().manual_seed(SEED), x)
        log_pz = prior.log_prob(z[None])
    _check(
        tuple(z.shape) != (n, model.latent),
        "prior",
        f"{n} draws have to be ({n}, {model.latent}), not {z.shape}",
    )
    _check(
        tuple(log_pz.shape) != (1, n), "prior", f"log_prob has to give (1, {n}), not {tuple(log_pz.shape)}"
    )
    raw = _output(model.decoder, z, "the decoder")
    _check_tensor(raw, x, "network", "the decoder")
    _check_repeatable(raw, _noisy(lambda: model.decoder(z)), "network", "the decoder")
    _check(len(raw) != n, "network", f"the decoder gives {tuple(raw.shape)} for {n} codes")
    draws = torch.stack([raw, raw])
    with _blaming(
        "likelihood", f"the likelihood {likelihood.title} of the decoder's outputs {tuple(raw.shape)}"
    ):
        samples = [_noisy(lambda: likelihood.sample(draws, generator.manual_seed(SEED))) for _ in range(2)]
        found = {
            "mean": likelihood.mean(draws), "sample": samples[0], "variance": likelihood.variance(draws),
        }  # fmt: skip
    for name, value in found.items():
        _check(
            value.shape[1:] == (n, *shape) and len(value) != 2, "likelihood",
            f"the {name} of {likelihood.title} gives {len(value)} draw for 2, of outputs {tuple(draws.shape)}",
        )  # fmt: skip
        _check(
            tuple(value.shape) != (2, n, *shape), "network" if name == "mean" else "likelihood",
            f"the decoder gives {tuple(raw.shape)} for {n} codes, and the {name} of {likelihood.title} is then"
            f" {tuple(value.shape[1:])}; items are {(n, *shape)}",
        )  # fmt: skip
    _check(
        not torch.equal(*samples), "likelihood",
        "sample gives other draws for the same generator: draw by the generator that it gets, as"
        " torch.randn(raw.shape, generator=generator) does",
    )  # fmt: skip
    _check_log_prob(model, draws, x)


def _check_log_prob(model: Model, draws: Tensor, x: Tensor) -> None:
    n = len(x)
    with _blaming("likelihood", f"the likelihood {model.likelihood.title}"):
        log_px = model.likelihood.log_prob(draws, x)
    _check_tensor(log_px, x, "likelihood", "log_prob")
    _check(
        tuple(log_px.shape) != (2, n), "likelihood",
        f"log_prob gives {tuple(log_px.shape)} for 2 draws of {n} items, expected (2, {n}): sum over an item's values,"
        " as .flatten(2).sum(2)",
    )  # fmt: skip


def _output(network: nn.Module, x: Tensor, what: str) -> Any:
    """What a network gives for inputs, which it must leave as they are: the loss compares with them."""
    inputs = x.clone()
    with _blaming("network", what):
        output = _noisy(lambda: network(inputs))
    _check_inputs(inputs, x, what)
    return output


def _check_inputs(inputs: Tensor, before: Tensor, what: str) -> None:
    _check(
        not torch.equal(inputs, before), "network",
        f"{what} changes its inputs in place: make new tensors of them, as x = 2 * x and nn.ReLU() without inplace do",
    )  # fmt: skip


def _check_held(model: Model, held: set[str]) -> None:
    """Raises InputError for parameters and buffers that a first pass has made."""
    made = [name for name in model.state_dict() if name not in held]
    _check(
        bool(made), "network",
        f"a first pass makes {', '.join(made[:3])}, which no optimiser and no file of weights would have: make"
        " parameters in __init__, or use torch's own lazy modules",
    )  # fmt: skip


def _check_registered(model: Model, p: Pass) -> None:
    """Raises InputError for parameters in a pass that are none of the model's."""
    held = {id(parameter) for parameter in model.parameters()}
    todo: list[Any] = [v.grad_fn for v in (p.log_px, p.log_pz, p.log_qz, p.kl) if v is not None]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        _check(
            isinstance(leaf, nn.Parameter) and id(leaf) not in held, "network",
            f"a pass uses a parameter of shape {tuple(getattr(leaf, 'shape', ()))} that no module holds, which would be"
            " neither trained nor saved: keep modules in nn.ModuleList, not in a list, and parameters as attributes",
        )  # fmt: skip
        todo += [following for following, _ in node.next_functions]


def _check_tensor(value: Any, x: Tensor, field: str, what: str) -> None:
    _check(not isinstance(value, Tensor), field, f"{what} gives {type(value).__name__}, expected a tensor")
    _check(
        value.dtype != x.dtype, field,
        f"{what} gives {_name(value.dtype)}, and its inputs are {_name(x.dtype)}: keep their type",
    )  # fmt: skip
    _check(
        value.device != x.device,
        field,
        f"{what} gives a tensor on {value.device}, and its inputs are on {x.device}",
    )
    _check(
        not bool(value.isfinite().all()), field,
        f"{what} gives values that are not finite before any training",
    )  # fmt: skip


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _noisy(call: Callable[[], T]) -> T:
    """The result of a call that may draw noise of its own; torch's generators are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.seed()
        return call()


def _check_repeatable(first: Tensor, second: Tensor, field: str, what: str) -> None:
    _check(
        not torch.equal(first, second), field,
        f"{what} gives different outputs for the same inputs in evaluation mode: draw noise in training alone, as"
        " F.dropout(x, training=self.training) does",
    )  # fmt: skip


def _alike(first: Tensor, second: Tensor) -> bool:
    scale = max(first.abs().max().item(), second.abs().max().item(), 1e-6)
    return (first - second).abs().max().item() <= CLOSE * scale


def _check_state(model: Model, x: Tensor) -> None:
    """Raises InputError where a pass in training mode leaves something behind that a checkpoint does not hold."""
    for name, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        inputs = x if name == "encoder" else torch.zeros(len(x), model.latent).to(x)
        fresh = copy.deepcopy(network)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        with _blaming("network", f"the {name}, in training mode"):
            given = inputs.clone()
            outputs = _training_passes(network, given, 2)
            _check_inputs(given, inputs, f"the {name}, in training mode,")
            network.load_state_dict(before)
            again, first = _training_passes(network, inputs, 1), _training_passes(fresh, inputs, 1)
        network.load_state_dict(before)
        _check(
            not torch.equal(again, first), "network",
            f"the {name} keeps something of earlier passes that a checkpoint does not hold, so that no run could be"
            " resumed: keep it in self.register_buffer",
        )  # fmt: skip
        del outputs


def _training_passes(network: nn.Module, x: Tensor, passes: int) -> Tensor:
    generator = torch.Generator(x.device).manual_seed(SEED)
    network.train()
    with torch.no_grad(), seeded(generator):
        for _ in range(passes):
            out = network(x)
    return out


def _pass(model: Model, objective: Objective, x: Tensor, target: Tensor) -> Pass:
    generator = torch.Generator(x.device).manual_seed(SEED)
    with _blaming("network", "a pass in training mode"), seeded(generator):
        return model.train()(x, target=target, generator=generator, **objective.needs)


def _loss(objective: Objective, p: Pass) -> Any:
    with seeded(torch.Generator(p.z.device).manual_seed(SEED)):
        return objective.loss(p, objective.beta)


def _asking(model: Model, objective: Objective, x: Tensor, target: Tensor) -> Objective:
    """A function of one's own with draws from the prior, where it fails without them and does not with them."""
    if not isinstance(objective, OwnObjective):
        return objective
    try:
        _loss(objective, _pass(model, objective, x, target))
    except InputError:
        raise
    except Exception:  # what it raises is said by the check of the loss
        asking = replace(objective, draws=True)
        try:
            _loss(asking, _pass(model, asking, x, target))
        except Exception:
            return objective
        return asking
    return objective


def _check_loss(model: Model, objective: Objective, x: Tensor, target: Tensor) -> None:
    p = _pass(model, objective, x, target)
    _check_registered(model, p)
    with _blaming("objective", "the loss"):
        loss = _loss(objective, p)
        again = _loss(objective, p)
    _check(
        not isinstance(loss, Tensor),
        "objective",
        f"it gives {type(loss).__name__}, expected a tensor of one number",
    )
    _check(
        loss.ndim != 0, "objective",
        f"it gives a tensor of shape {tuple(loss.shape)}, expected one number: a mean over items, as .mean()",
    )  # fmt: skip
    _check(
        not loss.requires_grad, "objective", "its value has no gradient: use the Pass's tensors, undetached"
    )
    _check(not bool(loss.isfinite()), "objective", f"its value is {loss.item():g} before any training")
    _check(
        not torch.equal(loss, again), "objective",
        "it gives different values for the same Pass: draw noise from torch's own generators, and keep no state",
    )  # fmt: skip
    model.zero_grad()
    with _blaming("objective", "its gradient"):
        loss.backward()
    idle = [name for name, q in model.named_parameters() if q.requires_grad and q.grad is None]
    more = f" and {len(idle) - 3} more" if len(idle) > 3 else ""
    field = "network" if idle and idle[0].startswith(("encoder", "decoder")) else "objective"
    _check(
        bool(idle), field,
        f"no gradient reaches {', '.join(idle[:3])}{more}: use what is there, or freeze it by requires_grad_(False)",
    )  # fmt: skip


def _measured(model: Model, objective: OwnObjective, x: Tensor, target: Tensor) -> OwnObjective:
    """The objective with what a Pass shows of it: whether it is a mean over items, and its weight of the rate."""
    p = _pass(model, objective, x, target)
    passes = [p, *(_scattered(p, seed) for seed in range(SCATTERED))]
    with torch.no_grad(), _blaming("objective", "the loss of fewer items"):
        is_mean = len(x) > 1 and all(_is_mean(objective, each) for each in passes)
    with _blaming("objective", "the loss"):
        weight = _rate_weight(objective, p)
    return replace(objective, is_mean=is_mean, weight=weight)


def _is_mean(objective: OwnObjective, p: Pass) -> bool:
    """Whether the loss of two halves of a pass is in the mean that of both together."""
    half = p.z.shape[1] // 2
    whole = _loss(objective, _rows(p, slice(0, 2 * half)))
    halves = [_loss(objective, _rows(p, slice(start, start + half))) for start in (0, half)]
    return _alike(whole, torch.stack(halves).mean())


def _scattered(p: Pass, seed: int) -> Pass:
    """The pass with terms of all sizes, by which a loss shows where it is not linear."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: Tensor | None) -> Tensor | None:
        if like is None:
            return None
        size = torch.randn(
            (like.shape[0] if like is p.kl else 1, 1 if like is p.kl else like.shape[1]), generator=generator
        )
        return (10 ** (2 * size)).to(like).expand(like.shape).contiguous()

    negative = {name: drawn(getattr(p, name)) for name in ("log_px", "log_pz")}
    terms: dict[str, Any] = {name: None if v is None else -v for name, v in negative.items()}
    return replace(p, **terms, kl=drawn(p.kl), log_qz=drawn(p.log_qz))


def _rows(p: Pass, rows: slice) -> Pass:
    """The pass of some of its items."""
    cut: dict[str, Any] = {}
    for field in fields(p):
        value = getattr(p, field.name)
        if isinstance(value, Tensor):
            cut[field.name] = value[rows] if field.name in ("kl", "prior_draws") else value[:, rows]
    return replace(p, **cut, q=None if p.q is None else selected(p.q, rows))


def _rate_weight(objective: OwnObjective, p: Pass) -> float:
    """How much a nat of the rate counts in the loss against one of the distortion: 0 where the loss has neither."""
    leaves = {
        name: value.detach().requires_grad_()
        for name in ("log_px", "log_qz", "kl")
        if (value := getattr(p, name)) is not None
    }
    loss = _loss(objective, replace(p, **leaves))
    if not loss.requires_grad:
        return 0.0
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    slopes = {name: 0.0 if g is None else g.sum().item() for name, g in zip(leaves, found, strict=True)}
    dimensions = 1 if p.kl is None else p.kl.shape[-1]
    rate = slopes.get("kl", 0.0) / dimensions + slopes.get("log_qz", 0.0)
    return max(0.0, rate / -slopes["log_px"]) if slopes["log_px"] < 0 else 0.0


def probe_augment(own: Augment, x: Tensor, options: AugmentConfig) -> None:
    """Probes a function that augments training batches, on items x (B, *shape).

    Raises InputError for items of another shape or type or that are not finite, and for noise that does not follow from
    the seed.
    """
    generator = torch.Generator(x.device)
    with _blaming("augment", "the function"), torch.no_grad():
        results = [augmented(x[:PROBED].clone(), options, own, generator.manual_seed(SEED)) for _ in range(2)]
    first, second = results
    _check_tensor(first, x, "augment", "it")
    _check(
        first.shape != x[:PROBED].shape, "augment",
        f"it gives items of shape {tuple(first.shape[1:])}, expected {tuple(x.shape[1:])}",
    )  # fmt: skip
    _check(
        not torch.equal(first, second), "augment",
        "its noise does not follow from the seed: draw it by torch (from its own generators, or from the argument"
        " `generator`), not by random or numpy",
    )  # fmt: skip
