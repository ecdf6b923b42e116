"""The experiments: what was published, the runs that reproduce it, and the numbers of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.papers import linear
from benchmarks.papers.work import Row, Work
from latlas import densities
from latlas.data.batches import Batches
from latlas.metrics.classifier import as_tensor, classifier_of
from latlas.metrics.samples import frechet_distance
from latlas.runs import Run, dataset_of

PARTS = 10  # equal parts of the test images, by which two runs are compared pair by pair
ACTIVE = 0.01  # variance over images of a mean code, above which a latent dimension is active


@dataclass(frozen=True)
class Experiment:
    """What is reproduced, from where, how, and what differs from the source."""

    title: str
    paper: str
    setup: str
    differs: str
    measured: Callable[[Work], list[Row]]


def ppca(work: Work) -> list[Row]:
    """The optimum of a linear VAE, and the number of modes that survive on both sides of thresholds."""
    run = work.trained("optimum", "ppca.toml", {})
    dataset, model = dataset_of(run), run.model()
    x = Batches(dataset.train, dataset.scaling, torch.device("cpu"), torch.float64)(
        np.arange(len(dataset.train))
    )
    values = linear.eigenvalues(x.flatten(1).numpy())
    best, rate, noise = linear.optimum(values, model.latent)
    elbo, own_rate = linear.exact(model, x)
    theory = "closed form"
    rows = [
        Row("ELBO of 8 latents, digits (nats)", elbo, best, source=theory, digits=3),
        Row("rate at the optimum (nats)", own_rate, rate, source=theory, digits=3),
        Row("learned sigma^2", model.likelihood.sigma.item() ** 2, noise, source=theory, digits=5),
    ]  # fmt: skip
    for alive, beta in ((3, 1.0), (5, 4.0), (7, 0.25)):
        threshold = math.sqrt(values[alive - 1] * values[alive])
        changes = {
            "model.latent": 12,
            "likelihood.sigma": math.sqrt(threshold / beta),
            "objective.beta": beta,
        }
        model = work.trained(f"alive-{alive}", "ppca.toml", changes).model()
        found = linear.used_directions(model, values[0])
        what = f"beta {beta:g}, beta sigma^2 between l_{alive} and l_{alive + 1}, 12 latents"
        rows.append(Row(f"{what}: modes alive", found, alive, source=theory, digits=0))
        aim = linear.rate_at(values, 12, threshold)
        rows.append(Row(f"{what}: rate (nats)", linear.exact(model, x)[1], aim, source=theory, digits=3))
    return rows


def static_mnist(work: Work) -> list[Row]:
    """ELBO and log p(x) on the test set, with the draws that the source took and with more."""
    changes = {"data.source": str(binarized_mnist())}
    run = work.trained("vae", "static-mnist.toml", changes)
    few, many = work.log_likelihood(run, 10_000, 128), work.log_likelihood(run, 10_000, 1000)
    jax, torch_ = "JAX example, 512 hidden", "PyTorch example, 256 hidden"
    return [
        Row("test ELBO, 10,000 images", few["elbo"], -104.87, source=jax),
        Row("test log p(x), 128 draws, 10,000 images", few["log_px"], -96.72, few["stderr"], jax),
        Row("test log p(x), 128 draws, 10,000 images", few["log_px"], -100.31, few["stderr"], torch_),
        Row("test log p(x), 1,000 draws, 10,000 images", many["log_px"], None, many["stderr"]),
    ]


def binarized_mnist() -> Any:
    """Larochelle's static MNIST, as NumPy arrays."""
    from latlas.data import data_home

    return data_home() / "binarized-mnist" / "binarized_mnist.npz"


def burda(
    work: Work, epochs: int, draws: int, images: int, published: dict[str, tuple[float, int]]
) -> list[Row]:
    """log p(x) with 5,000 draws and active units of the VAE and the IWAE with so many draws."""
    rows, found = [], {}
    for label, k in (("vae", 1), (f"iwae{draws}", draws)):
        objective = {"objective.name": "iwae", "objective.samples": k} if k > 1 else {}
        run = work.trained(label, "burda.toml", {"training.epochs": epochs, **objective})
        found[label] = work.log_likelihood(run, images, 5000, PARTS)
        name = "VAE" if k == 1 else f"IWAE, k = {k}"
        source = "Burda et al. 2016, table 1, 3,280 epochs"
        what = f"{name}: test log p(x), 5,000 draws, {images:,} images"
        rows.append(Row(what, found[label]["log_px"], -published[label][0], found[label]["stderr"], source))
        rows.append(
            Row(
                f"{name}: active units of 50",
                active_units(run, work),
                published[label][1],
                source=source,
                digits=0,
            )
        )
    gain, error = gained(*found.values())
    (a, _), (b, _) = published.values()
    held = gain > 2 * error
    return [*rows, Row("gain of the IWAE (nats)", gain, a - b, error, source, "IWAE above VAE", held)]


def sooner(steps: int, batch: int, **more: Any) -> dict[str, Any]:
    """Settings of a shorter training than the paper's: larger batches, a higher rate, one cosine."""
    optimizer = {"optimizer.lr": 2e-3, "optimizer.eps": 1e-8, "optimizer.schedule": "cosine"}
    length = {"training.epochs": None, "training.steps": steps, "training.batch_size": batch}
    return length | optimizer | {"training.snapshot_epochs": None} | more


def burda_soon(work: Work) -> list[Row]:
    """The VAE of the paper's table 1 in a sixth of the epochs."""
    return burda_sooner(work, "vae", sooner(250_000, 128), {"published": -86.76, "reproduced": -86.35}, 19)


def burda_muon(work: Work) -> list[Row]:
    """The VAE of the paper's table 1 in a thirteenth of the epochs, by Muon."""
    changes = sooner(120_000, 128, **{"optimizer.name": "muon"})
    return burda_sooner(work, "vae", changes, {"published": -86.76, "reproduced": -86.35}, 19)


def iwae_soon(work: Work, steps: int = 30_000, **changes: Any) -> list[Row]:
    """The IWAE of the paper's table 1, k = 50, in a fraction of the epochs."""
    objective = {"objective.name": "iwae", "objective.samples": 50, "training.precision": "bfloat16"}
    published = {"published": -84.78, "reproduced": -84.6}
    return burda_sooner(work, "iwae50", sooner(steps, 128, **objective, **changes), published, 25)


def iwae_muon(work: Work) -> list[Row]:
    """The same by Muon, for twice as long."""
    return iwae_soon(work, 60_000, **{"optimizer.name": "muon"})


def burda_sooner(
    work: Work, label: str, changes: dict[str, Any], known: dict[str, float], active: int
) -> list[Row]:
    run = work.trained(label, "burda.toml", changes)
    found = work.log_likelihood(run, 10_000, 1000, PARTS)
    what, table = "test log p(x), 1,000 draws, 10,000 images", "Burda et al. 2016, table 1, 3,280 epochs"
    return [
        Row(what, found["log_px"], known["published"], found["stderr"], table),
        Row(
            what,
            found["log_px"],
            known["reproduced"],
            found["stderr"],
            "the best reproduction of it that we know",
        ),
        Row("test ELBO, 10,000 images", found["elbo"]),
        Row("active units of 50", active_units(run, work), active, source=table, digits=0),
    ]


def gained(first: dict[str, Any], second: dict[str, Any]) -> tuple[float, float]:
    """How much log p(x) the second run has above the first, and its standard error, pair by pair of equal parts."""
    gains = np.subtract(second["parts"], first["parts"])
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))


def iwae_order(work: Work) -> list[Row]:
    """The order of VAE and IWAE after the first five stages."""
    return burda(work, 121, 5, 1000, {"vae": (86.76, 19), "iwae5": (85.54, 22)})


def burda_table(work: Work) -> list[Row]:
    """Two rows of the paper's table 1, trained as long as there."""
    return burda(work, 3280, 50, 10_000, {"vae": (86.76, 19), "iwae50": (84.78, 25)})


def active_units(run: Run, work: Work) -> int:
    """Latent dimensions whose posterior mean has a variance above 0.01 over test images (Burda et al. 2016)."""
    model = run.model()
    return int((model.encode(np.asarray(work.items(run, model, 10_000).x)).var(0) > ACTIVE).sum())


def vamp(work: Work, data: str, published: dict[str, float]) -> list[Row]:
    """log p(x) with 5,000 draws of the same VAE under N(0, I) and under a VampPrior."""
    rows, numbers, source = [], [], "Norouzi et al. 2020, table 1"
    for prior, number in published.items():
        run = work.trained(prior, "vamp.toml", {"data.source": data, "prior.name": prior})
        found = work.log_likelihood(run, 10_000, 5000, PARTS)
        what = f"{prior}: test log p(x), 5,000 draws"
        rows.append(Row(what, found["log_px"], -number, found["stderr"], source))
        numbers.append(found)
    gain, error = gained(*numbers)
    a, b = published.values()
    held = gain > 2 * error
    return [*rows, Row("gain of the VampPrior (nats)", gain, a - b, error, source, "VampPrior above", held)]


def vamp_mnist(work: Work) -> list[Row]:
    """On MNIST."""
    return vamp(work, "mnist", {"standard-normal": 84.45, "vamp": 82.43})


def vamp_fashion_soon(work: Work, **changes: Any) -> list[Row]:
    """The VampPrior on Fashion-MNIST in a fraction of the epochs."""
    more = {"data.source": "fashion-mnist", "prior.name": "vamp", "objective.warmup": None}
    more |= {"training.patience": None, "training.precision": "bfloat16"}
    run = work.trained("vamp", "vamp.toml", sooner(60_000, 200, **more, **changes))
    found = work.log_likelihood(run, 10_000, 5000, PARTS)
    what, source = "vamp: test log p(x), 5,000 draws", "Norouzi et al. 2020, table 1"
    return [
        Row(what, found["log_px"], -227.35, found["stderr"], source),
        Row("test ELBO, 10,000 images", found["elbo"]),
    ]


def vamp_fashion_muon(work: Work) -> list[Row]:
    """The same by Muon."""
    return vamp_fashion_soon(work, **{"optimizer.name": "muon"})


def vamp_fashion(work: Work) -> list[Row]:
    """On Fashion-MNIST."""
    return vamp(work, "fashion-mnist", {"standard-normal": 228.70, "vamp": 227.35})


def expost(work: Work) -> list[Row]:
    """Distance of samples to real test images, of codes from N(0, I) and from a mixture fitted to the codes."""
    rows: list[Row] = []
    autoencoder = {"posterior.name": "point", "objective.name": "reconstruction"}
    for label, changes in (("ae", autoencoder), ("vae", {})):
        run = work.trained(label, "expost.toml", changes)
        name, dataset, model, n = label.upper(), dataset_of(run), run.model(), work.few(10_000, 100)
        mixture = densities.fit("mixture", densities.draws(model, dataset.train.x))
        noise = np.random.default_rng(0).standard_normal((n, model.latent))
        judge = classifier_of(dataset)
        assert judge is not None
        real = judge.features(as_tensor(dataset, np.asarray(dataset.test.x[:n])))
        pictures = {
            "reconstructions": model.reconstruct(dataset.test.take(slice(0, n)), units="model"),
            "codes from N(0, I)": model.decode(noise, units="model"),
            "codes from the mixture": model.decode(mixture.sample(n), units="model"),
        }
        if not rows:
            real_too = judge.features(as_tensor(dataset, np.asarray(dataset.train.x[:n])))
            rows.append(Row("as many training images: Frechet distance", frechet_distance(real, real_too)))
        for what, images in pictures.items():
            made = judge.features(torch.from_numpy(np.asarray(images, np.float32)).movedim(-1, 1))
            rows.append(Row(f"{name}, {what}: Frechet distance", frechet_distance(real, made)))
        gain = rows[-2].ours - rows[-1].ours
        said = f"{name}: the mixture is better"
        rows.append(
            Row(f"{name}: gain", gain, source="Ghosh et al. 2020, table 1", claim=said, held=gain > 0)
        )
    return rows
