"""Test ELBO against training time: latlas with nothing but the latent size, the tutorial's loop, pythae as it comes.

    LATLAS_DATA=FOLDER python benchmarks/curves.py [--seconds 300] [--only tutorial]

Fashion-MNIST, two latent dimensions, one thread, seconds of training alone: of the processor, but for latlas, whose
runs count them by the clock. latlas trains anew for each length, as its schedule ends with the run; the others go on,
and are evaluated after each epoch. The tutorial is D1's:
convolutions, batches of 100 by a DataLoader, Adam at 1e-4. pythae: its VAE, trainer and defaults, with the Bernoulli
reconstruction term (pip install -e ".[bench]"). Writes results/curves.json, and the picture docs/images/curves.png.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import torch
from plain_loop import Convolutional, Images, vae_loss
from torch import Tensor
from torch.utils.data import DataLoader

import latlas
from latlas.data import DataOptions, Dataset, load
from latlas.machine import processor

HERE = Path(__file__).resolve().parent
PICTURE = HERE.parent / "docs" / "images" / "curves.png"
STEPS = (235, 470, 940, 1880, 3760, 7520, 15040, 30080)
Points = Iterator[tuple[float, float]]  # seconds of training, test ELBO in nats
Loss = Callable[[Tensor], Tensor]  # of a batch, in nats per image


def ours(data: Dataset, seconds: float) -> Points:
    """Runs of more and more steps by the ordinary call."""
    for steps in STEPS:
        with tempfile.TemporaryDirectory() as folder:
            run = latlas.train(
                "fashion-mnist", latent=2, steps=steps, quick=True, quiet=True, out=Path(folder) / "run",
                settings={"training.threads": 1, "pictures.draw": False},
            )  # fmt: skip
            took = run.metrics["training_seconds"]
            yield took, run.metrics["splits"]["test"]["elbo"]
        if 2 * took > seconds:
            return


def tutorial(data: Dataset, seconds: float) -> Points:
    """D1's network and settings in a loop that tutorials write."""
    loader = DataLoader(Images(data.train.x), 100, shuffle=True)
    model = Convolutional()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def epoch() -> None:
        model.train()
        for x in loader:
            optimizer.zero_grad()
            loss = vae_loss(*model(x), x)
            loss.backward()
            optimizer.step()
            loss.item()

    yield from _after_epochs(epoch, model, lambda x: vae_loss(*model(x), x), data, seconds)


def pythae(data: Dataset, seconds: float) -> Points:
    """pythae's VAE by its own trainer, as it comes."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=2, reconstruction_loss="bce")
    x = _tensor(data.train.x)
    options = BaseTrainerConfig(output_dir=tempfile.mkdtemp(), no_cuda=True)
    trainer = BaseTrainer(VAE(config), BaseDataset(x, torch.zeros(len(x))), training_config=options)
    trainer.prepare_training()
    epochs = iter(range(1, 10**6))
    model = trainer.model
    yield from _after_epochs(
        lambda: trainer.train_step(next(epochs)), model, lambda x: model({"data": x}).loss, data, seconds
    )


def _after_epochs(
    epoch: Callable[[], object], model: torch.nn.Module, loss: Loss, data: Dataset, seconds: float
) -> Points:
    test, took = _tensor(data.test.x), 0.0
    while took < seconds:
        began = time.process_time()
        epoch()
        took += time.process_time() - began
        model.eval()
        with torch.no_grad():
            yield took, -float(torch.stack([loss(part) for part in test.split(1000)]).mean())


def _tensor(images: object) -> Tensor:
    return torch.as_tensor(images).movedim(-1, 1).to(torch.float32).div(255)


WAYS = {
    "latlas": ("latlas train fashion-mnist", ours),
    "tutorial": ("the tutorial's loop", tutorial),
    "pythae": ("pythae's VAE and trainer", pythae),
}


def draw(curves: dict[str, list[tuple[float, float]]]) -> None:
    """The picture of all curves."""
    from latlas.figures import style

    lines = "Fashion-MNIST, 2 latent dimensions. latlas trains anew for each length; the others go on, epoch by epoch."
    figure, top = style.page((900, 420), "Time to a good model", lines)
    axes = style.panel(figure, (style.MARGIN + 70, top + 10, 820, 340))
    for name, points in curves.items():
        seconds, elbo = zip(*points, strict=True)
        axes.plot(seconds, elbo, marker="o", markersize=3.5, linewidth=1.6, label=name)
    style.tidy(axes, "seconds of training on one thread", "test ELBO, nats per image")
    axes.set(xscale="log", ylim=(-320, -248))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    style.legend(axes, loc="lower right")
    style.save(
        figure, PICTURE, "Test ELBO against seconds of training, for latlas, the tutorial's loop and pythae"
    )


def main() -> None:
    """Measures, keeps, draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--only", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--draw", action="store_true", help="only draw what was measured before")
    given = parser.parse_args()
    torch.set_num_threads(1)
    file = HERE / "results" / "curves.json"
    kept = json.loads(file.read_text()) if file.exists() else {"curves": {}}
    data = load(DataOptions(source="fashion-mnist", validation=0.0))
    for short in [] if given.draw else given.only:
        torch.manual_seed(0)
        name, way = WAYS[short]
        points = kept["curves"][name] = []
        for seconds, elbo in way(data, given.seconds):
            points.append((round(seconds, 2), round(elbo, 3)))
            print(f"{name}: {seconds:.1f} s, {elbo:.2f}", flush=True)
        kept |= {"date": f"{datetime.now(UTC):%Y-%m-%d}", "processor": processor(), "threads": 1}
        file.write_text(json.dumps(kept, indent=1) + "\n")
    draw({name: kept["curves"][name] for name, _ in WAYS.values() if name in kept["curves"]})


if __name__ == "__main__":
    main()
