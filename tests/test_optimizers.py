"""Muon: what it does to a matrix, which weights it takes, what it keeps, and which networks get it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from helpers import image_dataset, images, made
from torch.nn import Parameter

import latlas
from latlas import checkpoints, optimizers
from latlas.build import resolve
from latlas.checkpoints import Progress
from latlas.config import override, recipe
from latlas.networks import NETWORKS
from latlas.optimizers import EVERY, MOMENTUM, SIZE, Muon, matrices, optimizer_for

LR = 1e-2


def muon(weights: list[torch.Tensor], decay: float = 0.0) -> Muon:
    """Muon of these matrices alone, in double precision."""
    turned = [Parameter(weight.double()) for weight in weights]
    return Muon([{"params": turned}, {"params": []}], lr=LR, weight_decay=decay, fused=True)


def stepped(optimizer: torch.optim.Optimizer, gradient: torch.Tensor) -> torch.Tensor:
    """By how much a step of this gradient moves the first weight."""
    (weight, *_) = optimizer.param_groups[0]["params"]
    before, weight.grad = weight.detach().clone(), gradient.to(weight)
    optimizer.step()
    return weight.detach() - before


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6, 6), (6, 10), (10, 6), (4, 3, 2, 2), (2, 5), (5, 1), (1, 5)])
def test_a_step_has_the_size_that_is_said_whatever_the_gradients(shape: tuple[int, ...]) -> None:
    for scale in (1e-12, 1.0, 1e12):
        moved = stepped(muon([random(*shape)]), scale * random(*shape, seed=1))
        assert moved.square().mean().sqrt().item() == pytest.approx(SIZE * LR, rel=1e-9)


@pytest.mark.parametrize("shape", [(6, 10), (10, 6)])
def test_a_step_turns_the_gradient_and_makes_its_directions_alike(shape: tuple[int, ...]) -> None:
    """Of G = U diag(s) V^T a step is U diag(t) V^T, and all t are alike where s differ by a factor of 20."""
    u, _ = torch.linalg.qr(random(shape[0], 6))
    v, _ = torch.linalg.qr(random(shape[1], 6, seed=1))
    s = torch.linspace(0.05, 1, 6, dtype=torch.float64)
    inside = -u.T @ stepped(muon([torch.zeros(shape)]), u @ s.diag() @ v.T) @ v
    t = inside.diagonal()
    assert (inside - t.diag()).abs().max() < 1e-9 * t.max()
    assert t.min() > 0
    assert t.max() / t.min() < 4
    exact = SIZE * LR * math.sqrt(shape[0] * shape[1] / 6)
    assert t.square().mean().sqrt().item() == pytest.approx(exact, rel=1e-9)


def test_a_step_of_a_transposed_matrix_is_the_transposed_step() -> None:
    wide, tall = (stepped(muon([torch.zeros(g.shape)]), g) for g in (random(4, 7), random(4, 7).T))
    torch.testing.assert_close(wide.T, tall, rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-38, 1e-30, 1e-20, 1e-16, 1e-14, 1e15])
def test_small_and_large_gradients_are_turned_in_single_precision(scale: float) -> None:
    weight = Parameter(torch.ones(64, 96))
    optimizer = Muon([{"params": [weight]}, {"params": []}], lr=LR, weight_decay=0.0, fused=True)
    moved = stepped(optimizer, scale * random(64, 96).float()).double().square().mean().sqrt().item()
    least = SIZE * LR if scale > 1e-16 else 0.0
    most = SIZE * LR if scale > 1e-20 else 1e-3 * SIZE * LR
    assert 0.99 * least <= moved <= 1.01 * most


def test_steps_fade_where_the_gradient_vanishes() -> None:
    optimizer = muon([torch.zeros(8, 12)])
    for k in range(40):
        stepped(optimizer, random(8, 12, seed=k))
    drift = sum(stepped(optimizer, torch.zeros(8, 12)) for _ in range(1000))
    assert drift.square().mean().sqrt() < 70 * SIZE * LR
    assert stepped(optimizer, random(8, 12)).square().mean().sqrt().item() == pytest.approx(SIZE * LR)


def test_weights_decay_and_nothing_moves_without_a_gradient() -> None:
    optimizer = muon([torch.ones(3, 4)], decay=0.1)
    moved = stepped(optimizer, torch.zeros(3, 4))
    torch.testing.assert_close(moved, torch.full((3, 4), -0.1 * LR, dtype=torch.float64))
    optimizer.param_groups[0]["params"][0].grad = None
    optimizer.step()
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["step"] == 1


def test_the_momentum_is_that_of_nesterov() -> None:
    optimizer, gradients = muon([torch.zeros(3, 4)]), [random(3, 4, seed=k) for k in range(3)]
    for gradient in gradients:
        stepped(optimizer, gradient)
    momentum = sum((1 - MOMENTUM) * MOMENTUM ** (2 - k) * gradient for k, gradient in enumerate(gradients))
    (state,) = optimizer.state.values()
    torch.testing.assert_close(state["momentum"], momentum)


def test_the_factor_is_computed_anew_every_few_steps() -> None:
    optimizer, factors = muon([torch.zeros(3, 4)]), []
    for k in range(2 * EVERY + 1):
        stepped(optimizer, random(3, 4, seed=k))
        factors.append(next(iter(optimizer.state.values()))["factor"].clone())
    anew = [k for k in range(1, len(factors)) if not torch.equal(factors[k], factors[k - 1])]
    assert anew == [EVERY, 2 * EVERY]


@pytest.mark.parametrize("network", ["mlp", "conv", "fashion"])
def test_it_takes_the_matrices_of_the_networks_that_are_not_too_wide(network: str) -> None:
    changes = {"network__hidden": (300, 20)} if network == "mlp" else {}
    dataset = image_dataset(height=28, width=28)
    _, model = made(dataset, network__name=network, prior__name="vamp", **changes)
    taken = matrices(model)
    named = {id(weight): name for name, weight in model.named_parameters()}
    names = {named[id(weight)] for weight in taken}
    assert all(name.endswith("weight") and name.startswith(("encoder", "decoder")) for name in names)
    left = {name: p for name, p in model.named_parameters() if name not in names and p.ndim > 1}
    assert all("prior" in name or min(len(p), p[0].numel()) > 256 for name, p in left.items()), left.keys()
    assert {"mlp": 4, "conv": 6, "fashion": 7}[network] <= len(taken)


def test_a_checkpoint_keeps_everything(tmp_path: Path) -> None:
    config, model = made(image_dataset(), optimizer__name="muon", network__hidden=(12, 8))
    x = torch.rand(30, 1, 8, 6)
    optimizer = optimizer_for(config, model)

    def go_on(steps: int) -> dict[str, torch.Tensor]:
        for k in range(steps):
            optimizer.zero_grad()
            p = model(x, generator=torch.Generator().manual_seed(k))
            (p.distortion + p.rate).mean().backward()
            optimizer.step()
        return {name: value.clone() for name, value in model.state_dict().items()}

    go_on(EVERY + 3)  # in the middle of two factors
    content = checkpoints.to_content(model, optimizer, Progress(step=11))
    expected = go_on(EVERY)
    other = made(image_dataset(), optimizer__name="muon", network__hidden=(12, 8))[1]
    model, optimizer = other, optimizer_for(config, other)
    checkpoints.load_content(content, tmp_path / "x", model, optimizer)
    assert checkpoints.to_content(model, optimizer, Progress(step=11)) == content
    assert all(torch.equal(value, expected[name]) for name, value in go_on(EVERY).items())


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    config, model = made(image_dataset(), optimizer__name="muon", network__hidden=(12, 8))
    theirs = optimizer_for(override(config, {"optimizer.name": "adamw"}, "test"), model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    theirs.step()
    content = checkpoints.to_content(model, theirs, Progress(step=1))
    with pytest.raises(latlas.InputError, match=r"optimizer\.\d+\.exp_avg"):
        checkpoints.load_content(content, tmp_path / "x", model, optimizer_for(config, model))


@pytest.mark.parametrize("network", [*NETWORKS, "auto"])
def test_auto_is_what_the_network_says(network: str) -> None:
    config = override(recipe("vae"), {"network.name": network, "data.source": "x"}, "test")
    resolved, notes = resolve(config, image_dataset(height=32, width=32))
    name = NETWORKS[resolved.network.name].optimizer
    assert resolved.optimizer.name == name
    assert f"optimizer.name = {name} (by the network)" in notes
    assert {NETWORKS[name].optimizer for name in ("pca-mlp", "linear")} == {"adamw"}


@pytest.mark.parametrize("how", ["train", "fit"])
def test_networks_of_ones_own_are_trained_by_it(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned: list[int] = []
    real = optimizers._turn
    monkeypatch.setattr(
        optimizers, "_turn", lambda one, *rest: turned.append(one.numel()) or real(one, *rest)
    )
    x = images(40)
    networks = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 4)),
        torch.nn.Sequential(torch.nn.Linear(2, 48), torch.nn.Unflatten(1, (1, 8, 6))),
    )
    if how == "train":
        run = latlas.train(
            x, network=networks, latent=2, steps=2, out=tmp_path / "run", quick=True, quiet=True
        )
        assert run.config.optimizer.name == "muon"
    else:
        model = latlas.Model(latlas.item_of(x), networks, latlas.DiagonalGaussian(2))
        for _ in latlas.fit(model, x, steps=2):
            pass
    assert turned == 2 * [4 * 48, 2 * 48]


def test_more_is_learned_in_few_steps(tmp_path: Path) -> None:
    bounds = {}
    for name in ("adamw", "muon"):
        run = latlas.train(
            "fashion-mini", latent=8, steps=100, out=tmp_path / name, quick=True, quiet=True,
            settings={"optimizer.name": name, "pictures.draw": False},
        )  # fmt: skip
        bounds[name] = run.metrics["splits"]["test"]["elbo"]
    assert bounds["muon"] > bounds["adamw"] + 2
