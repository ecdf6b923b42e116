"""Exports a briefly trained model of every recipe, and modules that are no part of latlas, as ONNX, and runs the files
beside the models on test items.

Needs pip install -e ".[onnx]". python benchmarks/onnx.py [RECIPE ...] prints a table; of all it writes results/onnx.md.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from torch import nn

import latlas
from latlas.config import recipe, recipe_names
from latlas.data import DataOptions, Like, load
from latlas.likelihoods import Gaussian
from latlas.machine import processor
from latlas.models import Model
from latlas.posteriors import DiagonalGaussian
from latlas.priors import StandardNormal

# This file has the name of a package that latlas needs.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
BATCHES = (1, 2, 7, 64)
STEPS, ITEMS = 60, 1000
RESULTS = Path(__file__).parent / "results" / "onnx.md"
Row = dict[str, str | float | None]
HEAD = f"""# ONNX beside PyTorch

Every recipe, trained for {STEPS} steps on {ITEMS:,} items and exported by `latlas.export`. onnxruntime runs the
files on test items, which the export has not seen, at batches of 1, 2, 7 and 64; the graphs are captured at 3.
The largest difference of all values from the model's: of codes relative to the largest mean or standard
deviation among 64 items, of decoded items on the model's scale, where their range is 1. A dash: the posterior
gives no standard deviation. The seconds are those of the export, on a busy machine. Modules of one's own:
attention, group normalisation, dropout and upsampling in a `latlas.Model` made by hand.

"""


def exported(model: Model, source: latlas.Run | Model, x: np.ndarray) -> Row:
    """The largest differences of the files from the model, on items x in data units."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        latlas.export(source, onnx=Path(folder) / "files", quiet=True)
        seconds = time.perf_counter() - started
        encoder, decoder = (
            _session(Path(folder) / "files" / f"{name}.onnx") for name in ("encoder", "decoder")
        )
    codes = model.encode(x)
    std = model.posterior(x).stddev
    expected = {"mean": codes} | ({} if std is None else {"std": std.numpy()})
    size = max(float(np.abs(value).max()) for value in expected.values())
    images = model.decode(codes, units="model")
    worst: dict[str, float] = {}

    def note(name: str, n: int, difference: np.ndarray) -> None:
        for key in (name, f"at {n}"):
            worst[key] = max(worst.get(key, 0.0), float(np.abs(difference).max()))

    for n in BATCHES:
        for name, output in encoder(x[:n]).items():
            note(name, n, (output - expected[name][:n]) / size)
        note("x", n, model.item.scaling.apply(decoder(codes[:n])["x"].astype(np.float64)) - images[:n])
    return {"std": None, **worst, "seconds": seconds}


def _session(path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    taken, given = session.get_inputs()[0], [output.name for output in session.get_outputs()]
    dtype = np.float64 if "double" in taken.type else np.float32
    return lambda batch: dict(zip(given, session.run(None, {taken.name: batch.astype(dtype)}), strict=True))


def coloured(folder: Path) -> Path:
    """Image files in colour, which recipes resize as they do photographs."""
    folder.mkdir()
    for row, image in enumerate(load(DataOptions(source="shapes")).train.x[:ITEMS]):
        Image.fromarray(image).save(folder / f"{row:04}.png")
    return folder


def of_recipe(name: str) -> Row:
    """A recipe, trained for a few steps on items inside the package: grey or coloured, as its own data are."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        colour = recipe(name).recipe.data == "flowers102"
        run = latlas.train(
            coloured(folder / "shapes") if colour else "fashion-mini", name, out=folder / "run", limit=ITEMS,
            steps=STEPS, quick=True, quiet=True, settings={"pictures.draw": False},
        )  # fmt: skip
        data = load(run.config.data)
        x = np.asarray(data.test.x[: max(BATCHES)])
        return {"model": name, "data": f"{data.name}, {' × '.join(map(str, data.shape))}"} | exported(
            run.model(), run, x
        )


class Block(nn.Module):
    """Attention over an image's pixels beside a convolution, with the norm of groups."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(4, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        tokens = normed.flatten(2).transpose(1, 2)
        attended = self.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)
        return x + attended + nn.functional.mish(self.conv(normed))


def of_modules() -> Row:
    """Modules of one's own, trained for a few steps by a loop of one's own."""
    data = load(DataOptions(source="digits"))
    item = Like(data.kind, data.shape, data.scaling)
    torch.manual_seed(0)
    down = [nn.Conv2d(1, 16, 3, 2, 1), Block(16), nn.Dropout(0.1), nn.Flatten(), nn.Linear(256, 16)]
    up = [
        nn.Linear(8, 256),
        nn.Unflatten(1, (16, 4, 4)),
        Block(16),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(16, 1, 1),
    ]
    networks = (nn.Sequential(*down), nn.Sequential(*up))
    model = Model(item, networks, DiagonalGaussian(8), StandardNormal(8), Gaussian())
    x, optimizer = model.to_tensor(data.train.x[:ITEMS]), torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = -model(x[step % 10 :: 10]).elbo.mean()
        loss.backward()
        optimizer.step()
    about: Row = {"model": "modules of one's own", "data": "digits, 1 × 8 × 8"}
    return about | exported(model.eval(), model, np.asarray(data.test.x[: max(BATCHES)], np.float32))


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown."""
    columns = ["mean", "std", "x", *(f"at {n}" for n in BATCHES)]
    head = ["model", "trained on", "mean", "std", "decoder", *(f"batch of {n}" for n in BATCHES), "seconds"]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for row in rows:
        numbers = ["–" if row[key] is None else f"{row[key]:.1e}" for key in columns]
        lines.append([str(row["model"]), str(row["data"]), *numbers, f"{row['seconds']:.0f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    chosen = sys.argv[1:] or recipe_names()
    rows = []
    for name in chosen:
        rows.append(of_recipe(name))
        print(rows[-1], flush=True)
    if sys.argv[1:]:
        return
    rows.append(of_modules())
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "onnx", "onnxscript", "onnxruntime")
    )
    tail = f"\n\n{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {processor()}, {libraries}\n"
    print(text := table(rows))
    RESULTS.write_text(HEAD + text + tail, encoding="utf-8")


if __name__ == "__main__":
    main()
