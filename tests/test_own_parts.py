"""Parts of one's own: the same bits as latlas's where they are the same, probed, stored, and brought along again."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers import images
from torch import Tensor, nn
from torch.nn import functional

import latlas
from latlas import runs, training
from latlas.errors import InputError
from latlas.models import Pass
from latlas.networks import NETWORKS
from latlas.objectives import OwnObjective
from latlas.settings import NetworkConfig

SHAPE, LATENT = (1, 8, 6), 3
QUIET: dict[str, Any] = {"quiet": True, "steps": 6, "batch_size": 16}
PLAIN = {"pictures.draw": False, "training.snapshot_every": 100}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "ramps.npy"
    np.save(path, images(60))
    return path


def networks(latent: int = LATENT, outputs: int = 2 * LATENT, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    size = math.prod(SHAPE)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.Tanh(), nn.Linear(16, outputs))
    decoder = nn.Sequential(nn.Linear(latent, 16), nn.Tanh(), nn.Linear(16, size), nn.Unflatten(1, SHAPE))
    return encoder, decoder


def built_in(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """The default network, initialised as `build` does it."""
    torch.manual_seed(seed)
    return NETWORKS["mlp"].make(SHAPE, 2 * LATENT, LATENT, NetworkConfig(hidden=(16,)))


def beta_four(p: Pass) -> Tensor:
    assert p.rate is not None
    return (p.distortion + 4 * p.rate).mean()


class StudentT(latlas.Likelihood):
    """Three methods, and no more."""

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        return torch.distributions.StudentT(4.0, raw, 0.1).log_prob(x).flatten(2).sum(2)

    def mean(self, raw: Tensor) -> Tensor:
        return raw

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return raw + 0.1 * torch.randn(raw.shape, generator=generator, dtype=raw.dtype)


class Wide(latlas.Prior):
    """N(0, 4 I), by two methods."""

    def sample(self, n: int, generator: torch.Generator, like: Tensor) -> Tensor:
        return 2 * torch.randn((n, self.latent), generator=generator).to(like)

    def log_prob(self, z: Tensor) -> Tensor:
        return torch.distributions.Normal(0.0, 2.0).log_prob(z).sum(-1)


def weights(run: runs.Run) -> dict[str, Tensor]:
    return runs.weights_of(run)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def trained(source: Path, out: Path, **options: Any) -> latlas.Run:
    settings = PLAIN | options.pop("settings", {})
    return latlas.train(source, out=out, settings=settings, **(QUIET | options))


class TestTheSameBits:
    def test_networks_that_are_those_of_latlas(self, source: Path, tmp_path: Path) -> None:
        settings = {"network.name": "mlp", "network.hidden": [16]}
        theirs = trained(source, tmp_path / "theirs", latent=LATENT, settings=settings)
        own = trained(source, tmp_path / "own", latent=LATENT, network=built_in())
        assert same(weights(theirs), weights(own))
        assert theirs.metrics["splits"] == own.metrics["splits"]

    def test_a_loss_that_is_the_elbo(self, source: Path, tmp_path: Path) -> None:
        def loss(p: Pass, beta: float) -> Tensor:
            assert p.rate is not None
            return (p.distortion + beta * p.rate).mean()

        given = {
            "latent": LATENT,
            "beta": 0.5,
            "settings": {"objective.schedule": "linear", "objective.warmup": 3},
        }
        theirs = trained(source, tmp_path / "theirs", **given)
        own = trained(source, tmp_path / "own", objective=loss, **given)
        assert same(weights(theirs), weights(own))
        scores = [[row["score"] for row in run.log() if row["kind"] == "epoch"] for run in (theirs, own)]
        assert scores[0] == pytest.approx(scores[1])

    def test_one_that_asks_for_prior_draws_is_the_mmd(self, source: Path, tmp_path: Path) -> None:
        from latlas.divergences import KERNELS, mmd

        def loss(p: Pass) -> Tensor:
            return p.distortion.mean() + 48 * mmd(p.z[0], p.prior_draws, KERNELS["authors"], "biased")  # type: ignore[arg-type]

        given = {"latent": LATENT, "settings": {"objective.schedule": "constant"}}
        theirs = trained(source, tmp_path / "theirs", objective=latlas.InfoVae(info_lambda=48.0), **given)
        own = trained(source, tmp_path / "own", latent=LATENT, objective=loss)
        assert same(weights(theirs), weights(own))
        assert own.config.own.matches_prior
        assert [row["score"] for row in own.log() if row["kind"] == "epoch"] == [None] * 2

    def test_parts_of_latlas_are_settings_and_need_not_be_brought_again(
        self, source: Path, tmp_path: Path
    ) -> None:
        settings = {"posterior.name": "full-gaussian", "likelihood.name": "laplace", "objective.name": "iwae",
                    "objective.samples": 2, "likelihood.output": "tanh"}  # fmt: skip
        theirs = trained(source, tmp_path / "theirs", latent=LATENT, settings=settings)
        own = trained(
            source, tmp_path / "own", posterior=latlas.FullGaussian(LATENT), prior=latlas.StandardNormal(LATENT),
            likelihood=latlas.Laplace(output="tanh"), objective=latlas.Iwae(samples=2),
        )  # fmt: skip
        assert same(weights(theirs), weights(own))
        assert own.config == theirs.config
        assert latlas.load(own.path).latent == LATENT
        named = trained(source, tmp_path / "named", posterior="point", objective="reconstruction", latent=2)
        assert named.config.posterior.name == "point"

    def test_fit_takes_the_steps_of_train(self, source: Path, tmp_path: Path) -> None:
        run = trained(source, tmp_path / "run", latent=LATENT, network=networks(), objective=beta_four,
                      settings={"data.validation": 0, "data.test": 0, "network.output_bias": "default",
                                "likelihood.name": "bernoulli"})  # fmt: skip
        x = np.load(source)
        model = latlas.Model(
            latlas.item_of(x), networks(), latlas.DiagonalGaussian(LATENT), likelihood=latlas.Bernoulli()
        )
        events = list(latlas.fit(model, x, objective=beta_four, steps=6, batch_size=16))
        assert same(weights(run), dict(model.state_dict()))
        assert [type(e) for e in events[-2:]] == [training.SnapshotDue, training.EpochEnded]


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory) -> latlas.Run:
    return latlas.train(
        source, network=networks(), objective=beta_four, likelihood=StudentT(), prior=Wide(LATENT), steps=120,
        out=tmp_path_factory.mktemp("runs") / "own", quiet=True,
        settings={"evaluation.groups": ["likelihood"], "evaluation.diagnose": True, "pictures.draw": False},
    )  # fmt: skip


class TestARunOfOnesOwn:
    def test_says_which_parts_are_ones_own(self, run: latlas.Run) -> None:
        config = run.config
        names = [
            getattr(config, part).name
            for part in ("network", "objective", "likelihood", "prior", "posterior")
        ]
        assert names == ["own"] * 4 + ["gaussian"]
        assert config.own.network == ("torch.nn.Sequential",) * 2
        assert config.own.likelihood == "test_own_parts.StudentT"
        assert config.model.latent == LATENT
        assert "model.latent = 3 (that of Wide)" in run.info["notes"]
        report = (run.path / "report.html").read_text("utf-8")
        assert "own: test_own_parts.StudentT" in report
        assert "test_own_parts.beta_four" in report
        assert (
            "run = latlas.open_run(&#39;own&#39;, network=(encoder, decoder), prior=..., likelihood=...)"
            in report
        )
        assert json.loads((run.path / "model.json").read_text())["parameters"]["encoder"] == 886
        assert run.metrics["parameters"] == 1766

    def test_is_measured_at_beta_one(self, run: latlas.Run) -> None:
        test = run.metrics["splits"]["test"]
        assert test["elbo"] == pytest.approx(-(test["distortion"] + test["rate"]))
        assert config_weight(run) == pytest.approx(4.0, abs=1e-4)
        assert run.metrics["normalised"] is False
        assert "bits_per_dim" not in run.metrics["numbers"]
        for finding in latlas.diagnose(run, quiet=True):
            assert not {key.partition(".")[0] for key in finding.settings} & {
                "network",
                "likelihood",
                "prior",
            }

    def test_every_call_takes_it(self, run: latlas.Run) -> None:
        again = latlas.open_run(run.path, network=networks(seed=5), likelihood=StudentT(), prior=Wide(LATENT))
        x = np.load(run.config.data.source)
        for opened in (run, again):
            assert latlas.encode(opened, x[:3], quiet=True).arrays["mean"].shape == (3, LATENT)
            assert (
                latlas.evaluate(opened, ["elbo"], quiet=True)["elbo"]["value"]
                == run.metrics["splits"]["test"]["elbo"]
            )
            latlas.diagnose(opened, quiet=True)
            latlas.vary(opened, row=0, n=2, quiet=True)
            entry = latlas.compare_runs(opened, quiet=True).runs[0]
            assert entry.likelihood == "StudentT"
            assert entry.scale == "cross-entropy"
        assert torch.equal(
            latlas.load(run.path, network=networks(seed=5), likelihood=StudentT(), prior=Wide(LATENT))
            .posterior(x)
            .mean,
            run.model().posterior(x).mean,
        )

    def test_without_its_parts_the_error_says_what_to_bring(self, run: latlas.Run) -> None:
        with pytest.raises(
            InputError, match=r"network \(torch\.nn\.Sequential and .*prior \(.*Wide\) and likelihood"
        ) as error:
            latlas.load(run.path)
        assert "network=(encoder, decoder), prior=..., likelihood=..." in str(error.value)
        with pytest.raises(
            InputError, match=r"^likelihood .*along: latlas\.open_run\(run, network=.*likelihood="
        ):
            latlas.load(run.path, network=networks(), prior=Wide(LATENT))  # the call works as it is shown
        with pytest.raises(InputError, match=r"objective \(.*beta_four"):
            latlas.resume(
                latlas.open_run(run.path, network=networks(), likelihood=StudentT(), prior=Wide(LATENT)), steps=130,
                quiet=True,
            )  # fmt: skip

    def test_parts_that_do_not_fit_are_refused_by_name(self, run: latlas.Run) -> None:
        decoder = networks()[1]
        narrow = nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.Tanh(), nn.Linear(9, 6))
        with pytest.raises(InputError, match=r"encoder\.1\.weight is 16x48 there and 9x48 here"):
            latlas.load(run.path, network=(narrow, decoder), likelihood=StudentT(), prior=Wide(LATENT))
        with pytest.raises(
            InputError, match=r"posterior\.name = gaussian: and a part that was given says 'full-gaussian'"
        ):
            latlas.open_run(run.path, posterior=latlas.FullGaussian(LATENT))
        with pytest.raises(InputError, match="posterior"):
            latlas.open_run(run.path, posterior=latlas.FlowedGaussian(LATENT))
        assert latlas.open_run(run.path, posterior=latlas.DiagonalGaussian(LATENT)).brought.posterior is None

    def test_says_the_call_that_continues_it(self, run: latlas.Run) -> None:
        said = run.continued_by
        assert said.startswith(
            f"latlas.resume(latlas.open_run({str(run.path)!r}, network=(encoder, decoder)"
        ), said
        assert all(f"{name}=..." in said for name in ("likelihood", "objective")), said

    def test_no_command_line_has_its_parts(self, run: latlas.Run, capsys: pytest.CaptureFixture[str]) -> None:
        from latlas import cli

        assert cli.run(["sample", str(run.path)]) == 2
        assert "bring them along" in capsys.readouterr().err


def config_weight(run: latlas.Run) -> float:
    return run.config.own.rate_weight


def test_weights_start_from_those_given_and_those_stay(source: Path, tmp_path: Path) -> None:
    given = networks(seed=3)
    before = [p.clone() for network in given for p in network.parameters()]
    trained(source, tmp_path / "run", network=given)
    assert all(
        torch.equal(a, b) for a, b in zip(before, [p for n in given for p in n.parameters()], strict=True)
    )


class Noisy(nn.Module):
    """A network with dropout and running statistics, which a resumed run needs as they were."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(48, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 6)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def own_noise(x: Tensor) -> Tensor:
    return x + 0.1 * torch.rand_like(x)


@pytest.mark.parametrize("stopped_at", [0, 3, 7])
def test_resuming_is_exact_whatever_the_weights_of_what_is_brought(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_at: int
) -> None:
    torch.manual_seed(0)
    parts: dict[str, Any] = {
        "network": (Noisy(), networks()[1]),
        "objective": beta_four,
        "augment": own_noise,
    }
    given = {"steps": 9, "settings": {"augment.flip": True, "augment.shift": 1, "training.keep": "all"}}
    whole = trained(source, tmp_path / "whole", **parts, **given)
    original = training._stepper

    class Killed(Exception):
        pass

    def dying(*arguments: Any) -> Any:
        step, taken = original(*arguments), [0]

        def one(*values: Any) -> Tensor:
            if taken[0] == stopped_at:
                raise Killed
            taken[0] += 1
            return step(*values)

        return one

    monkeypatch.setattr(training, "_stepper", dying)
    with pytest.raises(Killed):
        trained(source, tmp_path / "cut", **parts, **given)
    monkeypatch.setattr(training, "_stepper", original)
    torch.manual_seed(9)
    again = latlas.open_run(tmp_path / "cut", **(parts | {"network": (Noisy(), networks(seed=4)[1])}))
    if stopped_at == 3:  # the parts may be given to the call itself
        assert same(weights(latlas.resume(again.path, **parts, quiet=True)), weights(whole))
    else:
        assert same(weights(latlas.resume(again, quiet=True)), weights(whole))


def test_a_run_starts_from_one_with_parts_of_ones_own(source: Path, tmp_path: Path) -> None:
    first = trained(source, tmp_path / "first", network=networks(), objective=beta_four)
    second = trained(source, tmp_path / "second", from_run=first, steps=1)
    assert second.config.own == first.config.own
    again = trained(
        source, tmp_path / "third", from_run=first.path, network=networks(), objective=beta_four, steps=1
    )
    assert same(weights(again), weights(second))


def test_weights_that_two_layers_share_are_stored(source: Path, tmp_path: Path) -> None:
    encoder, decoder = networks()
    decoder[2].weight = nn.Parameter(torch.randn(48, 16))  # type: ignore[union-attr]
    shared = nn.Linear(16, 16)
    tied = nn.Sequential(encoder[:3], shared, nn.Tanh(), shared, nn.Linear(16, 6))  # type: ignore[index]
    run = trained(source, tmp_path / "run", network=(tied, decoder))
    model = run.model()
    assert model.encoder[1] is model.encoder[3]  # type: ignore[index]
    assert torch.equal(weights(run)["encoder.1.weight"], weights(run)["encoder.3.weight"])


def test_lazy_layers_get_their_weights(source: Path, tmp_path: Path) -> None:
    def lazy() -> tuple[nn.Module, nn.Module]:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(6)), networks()[1]

    run = trained(source, tmp_path / "run", network=lazy(), latent=LATENT)
    assert latlas.load(run.path, network=lazy()).encoder[1].in_features == 48  # type: ignore[index,union-attr]


def test_modules_of_another_type_are_moved(source: Path, tmp_path: Path) -> None:
    encoder, decoder = networks()
    run = trained(source, tmp_path / "run", network=(encoder.double(), decoder.half()))
    assert run.model().dtype == torch.float32


# --- probes, one by one


class Changed(nn.Module):
    """A network with something done to its outputs."""

    def __init__(self, network: nn.Module, change: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.network, self.change = network, change
        self.passes = 0

    def forward(self, x: Tensor) -> Any:
        return self.change(self, self.network(x))


def counting(self: Changed, y: Tensor) -> Tensor:
    self.passes += self.training
    return y + self.passes


class Unused(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.forgotten = network, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def fails(self: Changed, y: Tensor) -> Tensor:
    raise RuntimeError("the size of tensor a\nmust match")


ENCODERS: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "shape": (
        lambda m, y: y[:, :4],
        r"the encoder gives \(4, 4\) for 4 items, and .*DiagonalGaussian of 3 .*\(4, 6\)",
    ),
    "tuple": (
        lambda m, y: y.chunk(2, -1),
        r"the encoder gives 2 values, .*torch.cat\(\[mean, log_var\], -1\)",
    ),
    "kind": (lambda m, y: y.detach().numpy(), "the encoder gives ndarray, expected a tensor"),
    "dtype": (lambda m, y: y.double(), "the encoder gives float64, and its inputs are float32"),
    "finite": (lambda m, y: y / 0, "the encoder gives values that are not finite"),
    "noise": (
        lambda m, y: y + torch.randn_like(y),
        "the encoder gives different outputs for the same inputs in evaluation mode",
    ),
    "batch": (
        lambda m, y: y - y.mean(0),
        "the encoder gives other codes for an item if other items are beside it",
    ),
    "state": (counting, "the encoder keeps something of earlier passes .* self.register_buffer"),
    "failure": (fails, r"the encoder fails \(RuntimeError: the size of tensor a must match\)"),
    "detached": (lambda m, y: y.detach(), r"no gradient reaches encoder.network.1.weight, .* and 1 more"),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_probed(source: Path, tmp_path: Path, name: str) -> None:
    change, message = ENCODERS[name]
    encoder, decoder = networks()
    with pytest.raises(InputError, match=f"^network: {message}") as error:
        trained(source, tmp_path / "run", latent=LATENT, network=(Changed(encoder, change), decoder))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


class Hidden(nn.Module):
    """A layer that torch does not see, or that sees the light in the first pass alone."""

    def __init__(self, later: bool) -> None:
        super().__init__()
        self.later, self.layers = later, [nn.Linear(48, 2 * LATENT)]

    def forward(self, x: Tensor) -> Tensor:
        if self.later and not hasattr(self, "layer"):
            self.layer = nn.Linear(48, 2 * LATENT)
        return (self.layer if self.later else self.layers[0])(x.flatten(1))


@pytest.mark.parametrize(("change", "message"), [
    (lambda encoder: Hidden(later=False), r"a pass uses a parameter of shape \(6, 48\) that no module holds"),
    (lambda encoder: Hidden(later=True), "a first pass makes encoder.layer.weight, encoder.layer.bias, which"),
    (lambda encoder: nn.Sequential(nn.Threshold(2.0, 0.0, inplace=True), encoder), "the encoder changes its inputs in"),
    (lambda encoder: nn.Sequential(nn.Dropout(inplace=True), encoder), "the encoder, in training mode, changes its in"),
])  # fmt: skip
def test_what_no_file_of_weights_would_hold_and_changes_in_place_are_refused(
    source: Path, tmp_path: Path, change: Callable[[nn.Module], nn.Module], message: str
) -> None:
    encoder, decoder = networks()
    with pytest.raises(InputError, match=f"^network: {message}"):
        trained(source, tmp_path / "run", network=(change(encoder), decoder))
    assert not (tmp_path / "run").exists()


DECODERS: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "shape": (
        lambda m, y: y.flatten(1),
        r"the decoder gives \(4, 48\) for 4 codes, and the mean of Bernoulli is then",
    ),
    "dtype": (lambda m, y: y.double(), "the decoder gives float64"),
    "noise": (lambda m, y: functional.dropout(y), "the decoder gives different outputs for the same inputs"),
    "state": (counting, "the decoder keeps something of earlier passes"),
    "finite": (lambda m, y: y * math.nan, "the decoder gives values that are not finite"),
}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_probed(source: Path, tmp_path: Path, name: str) -> None:
    change, message = DECODERS[name]
    encoder, decoder = networks()
    with pytest.raises(InputError, match=f"^network: {message}"):
        trained(source, tmp_path / "run", network=(encoder, Changed(decoder, change)))


def test_parameters_that_no_gradient_reaches_are_named_unless_they_are_frozen(
    source: Path, tmp_path: Path
) -> None:
    encoder, decoder = networks()
    unused = Unused(encoder)
    with pytest.raises(
        InputError, match=r"no gradient reaches encoder.forgotten.weight, encoder.forgotten.bias: use"
    ):
        trained(source, tmp_path / "run", network=(unused, decoder))
    unused.forgotten.requires_grad_(False)
    run = trained(source, tmp_path / "run", network=(unused, decoder))
    assert torch.equal(weights(run)["encoder.forgotten.weight"], unused.forgotten.weight)


def counter() -> Callable[[Pass], Tensor]:
    calls = [0]

    def loss(p: Pass) -> Tensor:
        calls[0] += 1
        return calls[0] * p.distortion.mean()

    return loss


LOSSES: dict[str, tuple[Any, str]] = {
    "no scalar": (lambda p: p.distortion, r"it gives a tensor of shape \(4,\), .*\.mean\(\)"),
    "no tensor": (lambda p: p.distortion.mean().item(), "it gives float, expected a tensor"),
    "no gradient": (lambda p: p.distortion.mean().detach(), "its value has no gradient"),
    "not finite": (lambda p: p.distortion.mean() / 0, "its value is inf before any training"),
    "state": (counter(), "it gives different values for the same Pass"),
    "failure": (lambda p: p.distorsion.mean(), r"the loss fails \(AttributeError: 'Pass' .*distorsion"),
    "two arguments": (lambda p, weight: p.distortion.mean(), r"the loss fails \(TypeError: .*weight"),
    "a class": (latlas.Elbo, "expected a function of a Pass, .* got the class Elbo, not one made of it"),
    "number": (3, "expected a function of a Pass, an Objective or the name of one, got int"),
    "weights": (nn.Linear(3, 3), "an objective's weights are not trained"),
    "one half": (lambda p: p.rate.mean(), "no gradient reaches .*decoder.0.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_probed(source: Path, tmp_path: Path, name: str) -> None:
    loss, message = LOSSES[name]
    with pytest.raises(InputError, match=f"(objective|network): {message}"):
        trained(source, tmp_path / "run", network=networks(), objective=loss)


class Broken(StudentT):
    fault: ClassVar[str] = ""

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        value = super().log_prob(raw, x)
        return value.sum() if self.fault == "sum" else value

    def sample(self, raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
        noise = torch.randn_like(raw) if self.fault == "seed" else 0
        return raw[0] if self.fault == "sample" else raw + noise

    def mean(self, raw: Tensor) -> Tensor:
        return raw[:1] if self.fault == "mean" else raw


@pytest.mark.parametrize(("fault", "message"), [
    ("sum", r"log_prob gives \(\) for 2 draws of 4 items, expected \(2, 4\)"),
    ("sample", "the decoder gives .* and the sample of Broken is then"),
    ("mean", r"the mean of Broken gives 1 draw for 2"),
    ("seed", "sample gives other draws for the same generator"),
])  # fmt: skip
def test_a_likelihood_is_probed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    monkeypatch.setattr(Broken, "fault", fault)
    with pytest.raises(InputError, match=f"^likelihood: {message}"):
        trained(source, tmp_path / "run", latent=LATENT, likelihood=Broken())


@pytest.mark.parametrize(("options", "message"), [
    ({"likelihood": StudentT}, "likelihood: expected a subclass of latlas.Likelihood, made, .* got the class StudentT"),
    ({"network": networks()[0]}, r"network: expected two modules, \(encoder, decoder\)"),
    ({"posterior": nn.Linear(2, 2)}, "posterior: .*got Linear without latent, outputs, has_density"),
    ({"prior": 3}, "prior: expected a subclass of latlas.Prior"),
    ({"augment": "flip"}, "augment: expected a function .*augment.flip"),
    ({"network": "mpl"}, "network.name = 'mpl'"),
    ({"posterior": latlas.DiagonalGaussian(2), "latent": 3}, "latent|model.latent = 3: and a part .* says 2"),
    ({"posterior": latlas.DiagonalGaussian(2), "prior": latlas.StandardNormal(3)}, "model.latent: 2 by one part and 3"),
    ({"objective": beta_four, "settings": {"objective.free_bits": 0.1}}, "objective.free_bits: it is not read"),
    ({"network": networks(), "settings": {"network.hidden": [3]}}, "network.hidden: it is not read by a part"),
    ({"network": (nn.Sequential(nn.Flatten(), nn.Linear(48, 7)), networks()[1])}, "7 values for an item, which fit no"),
])  # fmt: skip
def test_what_is_no_part_is_refused(
    source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trained(source, tmp_path / "run", **options)


# --- a model of one's own


def test_a_models_defaults() -> None:
    item = latlas.Item("image", SHAPE)
    model = latlas.Model(item, networks(), posterior=latlas.DiagonalGaussian(LATENT))
    assert isinstance(model.prior, latlas.StandardNormal)
    assert isinstance(model.likelihood, latlas.Gaussian)
    assert model.likelihood.learned
    assert model.sample(2).shape == (2, 8, 6, 1)
    with pytest.raises(InputError, match="prior: of 2 dimensions, and the posterior is of 3"):
        latlas.Model(item, networks(), latlas.DiagonalGaussian(3), latlas.StandardNormal(2))
    with pytest.raises(InputError, match=r"item: .*latlas\.item_of"):
        latlas.Model(np.zeros((3, 8, 6)), networks(), latlas.DiagonalGaussian(3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"likelihood: expected one of latlas\.Likelihood, got str"):
        latlas.Model(item, networks(), latlas.DiagonalGaussian(3), likelihood="gaussian")  # type: ignore[arg-type]
    wide = latlas.Model(item, networks(), latlas.DiagonalGaussian(4))
    with pytest.raises(
        InputError, match=r"network: the encoder gives \(20, 6\) for 20 items, and .*\(20, 8\)"
    ):
        wide.encode(images(20) / np.float32(255))
    for size in (0, 2.5, "two", True):
        with pytest.raises(InputError, match="latent"):
            latlas.DiagonalGaussian(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"stepz": 1}, {"network": networks()}])
def test_fit_refuses_what_it_does_not_know(options: dict[str, Any]) -> None:
    model = latlas.Model(latlas.item_of(images(20)), networks(), latlas.DiagonalGaussian(LATENT))
    with pytest.raises(TypeError, match="unknown option"):
        latlas.fit(model, images(20), **options)
    with pytest.raises(InputError, match=r"data\.limit"):
        latlas.fit(model, images(20), settings={"data.limit": 3})


def test_fit_restores_modes_stops_when_told_and_trains_autoencoders() -> None:
    x = images(40)
    model = latlas.Model(latlas.item_of(x), networks(outputs=LATENT), latlas.Point(LATENT)).eval()
    events = list(latlas.fit(model, x, steps=50, stop=lambda: True))
    assert isinstance(events[-1], training.Stopped)
    assert not model.training
    before = float(np.square(model.reconstruct(x) - x.astype(float)).mean())
    *_, last = latlas.fit(model, x, steps=60, lr=0.01)
    assert isinstance(last, training.EpochEnded)
    assert last.values["rate"] is None
    assert np.square(model.reconstruct(x) - x.astype(float)).mean() < before


@pytest.mark.parametrize(("loss", "weight", "is_mean"), [
    (beta_four, 4.0, True),
    (lambda p: (p.distortion + 2 * p.sampled_rate).mean(), 2.0, True),
    (lambda p: p.distortion.mean(), 0.0, True),
    (lambda p: p.distortion.mean() + (p.rate.mean() - 5).abs(), -1, False),
    (lambda p: p.distortion.sum() + 4 * p.rate.sum(), 4.0, False),
])  # fmt: skip
def test_what_is_found_out_about_a_loss(loss: Any, weight: float, is_mean: bool) -> None:
    from latlas.brought import bring
    from latlas.build import objective_of
    from latlas.config import override, recipe
    from latlas.probing import probe

    x = images(4)
    model = latlas.Model(latlas.item_of(x), networks(), latlas.DiagonalGaussian(LATENT))
    brought, settings = bring({"objective": loss})
    config = override(recipe("vae"), {"objective": {}} | settings, "test")
    found = probe(model, objective_of(config, SHAPE, brought), model.to_tensor(x))
    assert isinstance(found, OwnObjective)
    assert found.is_mean == is_mean
    assert found.rate_weight == pytest.approx(max(weight, 0.0), abs=1e-5)


def test_a_variance_and_raw_outputs_that_a_likelihood_does_not_say() -> None:
    from latlas.diagnosis.measurements import raw_of_mean

    likelihood = StudentT()
    raw = torch.zeros(1, 200, 1, 8, 6)
    assert likelihood.variance(raw).mean().item() == pytest.approx(0.01, rel=0.05)
    model = latlas.Model(
        latlas.Item("image", SHAPE), networks(), latlas.DiagonalGaussian(LATENT), likelihood=likelihood
    )
    average = torch.rand(SHAPE)
    assert torch.allclose(raw_of_mean(model, average), average, atol=1e-3)


# --- augmentation


def test_flips_and_shifts_are_exact() -> None:
    from latlas.augmentation import augmented
    from latlas.settings import AugmentConfig

    x = torch.arange(6.0 * 5 * 4).view(6, 1, 5, 4).repeat(50, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    flipped = augmented(x, AugmentConfig(flip=True), None, generator)
    kept = (flipped == x).flatten(1).all(1)
    assert torch.equal(flipped[~kept], x.flip(-1)[~kept])
    assert 0.4 < kept.double().mean() < 0.6
    moved = augmented(x, AugmentConfig(shift=2), None, generator)
    rows, columns = torch.arange(5), torch.arange(4)
    seen = set()
    for item, original in zip(moved[:, 0], x[:, 0], strict=True):
        ways = [(i, j) for i in range(-2, 3) for j in range(-2, 3)
                if torch.equal(original[(rows + i).clamp(0, 4)][:, (columns + j).clamp(0, 3)], item)]  # fmt: skip
        assert len(ways) == 1
        seen.add(ways[0])
    assert len(seen) == 25


def test_the_target_of_training_is_the_augmented_item(source: Path) -> None:
    """With a flip of every item the model sees mirrored items alone, and the loss compares with these."""
    x = images(40)
    mirrored = x[:, :, ::-1].copy()
    results = []
    for data, augment in ((mirrored, None), (x, lambda items: items.flip(-1))):
        model = latlas.Model(
            latlas.Item("image", SHAPE, latlas.item_of(x).scaling),
            networks(),
            latlas.DiagonalGaussian(LATENT),
        )
        list(latlas.fit(model, data, steps=5, augment=augment))
        results.append(dict(model.state_dict()))
    assert same(*results)


@pytest.mark.parametrize(("augment", "message"), [
    (lambda x: x[:, :, 1:], r"it gives items of shape \(1, 7, 6\), expected \(1, 8, 6\)"),
    (lambda x: x * random.random(), "its noise does not follow from the seed"),
    (lambda x: x.double(), "it gives float64"),
    (lambda x: x / 0, "it gives values that are not finite"),
    (lambda x: 1 / 0, r"the function fails \(ZeroDivisionError"),
])  # fmt: skip
def test_a_function_that_augments_is_probed(source: Path, tmp_path: Path, augment: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^augment: {message}"):
        trained(source, tmp_path / "run", augment=augment)


def test_a_function_may_take_the_generator(source: Path, tmp_path: Path) -> None:
    def noise(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.1 * torch.rand(x.shape, generator=generator)

    run = trained(source, tmp_path / "run", augment=noise)
    assert run.config.own.augment.endswith("noise")
    assert latlas.load(run.path).latent == 16  # what augments is no part of the model


def test_columns_are_not_mirrored(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(40, 5)))
    with pytest.raises(InputError, match=r"augment\.flip: columns have no order"):
        trained(tmp_path / "table.npy", tmp_path / "run", settings={"augment.flip": True})
    np.save(tmp_path / "images.npy", images(40))
    with pytest.raises(InputError, match=r"augment\.shift = 6: items are of 1x8x6"):
        trained(tmp_path / "images.npy", tmp_path / "run", settings={"augment.shift": 6})


# --- items and targets


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clean = images(120)
    noise = np.random.default_rng(1).integers(-40, 40, clean.shape)
    path = tmp_path_factory.mktemp("pairs") / "pairs.npz"
    np.savez(path, x=np.clip(clean + noise, 0, 255).astype(np.uint8), target=clean)
    return path


def test_the_loss_and_every_error_compare_with_the_target(pairs: Path, tmp_path: Path) -> None:
    run = trained(pairs, tmp_path / "run", latent=2, steps=150, likelihood="gaussian")
    assert any(note.startswith("inputs and targets:") for note in run.info["notes"])
    dataset = runs.dataset_of(run)
    test, model = dataset.test, run.model()
    assert test.target is not None
    error = np.square(model.reconstruct(test.x, "data") - test.target.astype(float)).mean() / 255**2
    split = run.metrics["splits"]["test"]
    assert split["mse"] == pytest.approx(error, rel=1e-4)
    assert split["restored_mse"] == split["mse"] < split["corrupted_mse"]
    scores = latlas.score(run, quiet=True).frame
    assert scores["squared_error"].mean() == pytest.approx(split["mse"], rel=1e-4)
    assert scores["elbo"].mean() == pytest.approx(split["elbo"], rel=0.05)


def test_equal_targets_are_no_targets(tmp_path: Path) -> None:
    x = images(60)
    np.savez(tmp_path / "pairs.npz", x=x, target=x)
    np.savez(tmp_path / "plain.npz", x=x)
    one, other = (trained(tmp_path / f"{name}.npz", tmp_path / name, latent=2) for name in ("pairs", "plain"))
    assert same(weights(one), weights(other))


def test_targets_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=images(60), target=images(60, width=5))
    with pytest.raises(InputError, match=r"train items of .* targets of"):
        trained(tmp_path / "a.npz", tmp_path / "run")
    np.savez(tmp_path / "b.npz", x=images(60), target=images(60), x_test=images(20))
    with pytest.raises(InputError, match="targets of train, and none of test"):
        trained(tmp_path / "b.npz", tmp_path / "run")
    np.savez(tmp_path / "c.npz", x=images(60), target=np.arange(60) % 3)  # labels, as ever
    assert trained(tmp_path / "c.npz", tmp_path / "run").info["data"]["classes"] == ["0", "1", "2"]
