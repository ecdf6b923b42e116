"""The layout of a model on the Hugging Face hub: weights, a configuration and a card; nothing here uses a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from latlas._version import __version__
from latlas.brought import NOTHING, Brought
from latlas.errors import InputError
from latlas.exports.card import CARD, card
from latlas.gallery import FIGURES
from latlas.html import picture
from latlas.models import Model
from latlas.runs import WEIGHTS, Run, described_model, is_run, read_json

CONFIG = "config.json"
MOST_PICTURES, WIDEST = 4, 800  # pictures in a card, and their width in pixels
LIBRARY = "latlas"


def hub_files(run: Run, model: Model) -> dict[str, Any]:
    """The files of a finished run and its model for the hub, by name: bytes, texts and JSON values.

    Raises InputError if a file of the run is missing or damaged.
    """
    description = read_json(run.path / "model.json", "config", "item")
    about = {"model_type": LIBRARY, "library_name": LIBRARY, "latlas_version": __version__}
    shown = {f"images/{name}.png": image for name, image in _pictures(run).items()}
    captions = {path: found for path, image in shown.items() if (found := picture(image, Path(path).stem))}
    return {
        WEIGHTS: (run.path / WEIGHTS).read_bytes(),
        CONFIG: about | description,
        CARD: card(run, model, captions),
        **shown,
    }


def _pictures(run: Run) -> dict[str, bytes]:
    """The first pictures of a run in the report's order, small, by name."""
    files = (run.path / "figures" / f"{name}.png" for name in FIGURES)
    found = {path.stem: small for path in files if path.is_file() and (small := _small(path)) is not None}
    return dict(list(found.items())[:MOST_PICTURES])


def _small(path: Path) -> bytes | None:
    """A picture at most WIDEST pixels wide, with its title and caption; None if it is damaged."""
    try:
        with Image.open(path) as image:
            texts = PngImagePlugin.PngInfo()
            for key in ("Title", "Description"):
                texts.add_itxt(key, str(image.info.get(key, "")))
            small = image.convert("RGB")
            small.thumbnail((WIDEST, 4 * WIDEST))
            content = io.BytesIO()
            small.save(content, "PNG", optimize=True, pnginfo=texts)
    except (OSError, SyntaxError, ValueError):
        return None
    return content.getvalue()


def is_hub_folder(path: Path) -> bool:
    """Whether a folder is laid out as on the hub, by whichever library."""
    return (path / CONFIG).is_file() and not is_run(path)


def read(folder: Path, brought: Brought = NOTHING) -> Model:
    """The model in a folder that was written for the hub, on the CPU; parts of one's own are brought along.

    Raises InputError if another library wrote it, or a file in it is missing or damaged.
    """
    if read_json(folder / CONFIG).get("library_name") != LIBRARY:
        raise InputError(f"{folder / CONFIG}: not a model of latlas (it has no library_name = {LIBRARY})")
    return described_model(folder / CONFIG, folder / WEIGHTS, brought)
