"""The layout of a model on the Hugging Face hub: weights, a configuration and a card; nothing here uses a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import PngImagePlugin

from latlas import formats, reading
from latlas._version import __version__
from latlas.brought import NOTHING, Brought
from latlas.checkpoints import WEIGHTS
from latlas.errors import InputError
from latlas.exports.card import CARD, card
from latlas.gallery import FIGURES
from latlas.html import picture
from latlas.models import Model
from latlas.runs import Run, described_model, is_run

CONFIG = "config.json"
MOST_PICTURES, WIDEST = 4, 800  # pictures in a card, and their width in pixels
LIBRARY = "latlas"


def hub_files(run: Run, model: Model) -> dict[str, Any]:
    """The files of a finished run and its model for the hub, by name: bytes, texts and JSON values.

    Raises InputError if a file of the run is missing or damaged.
    """
    description = reading.json_of(formats.Description, run.path, "model.json")
    about = {"model_type": LIBRARY, "library_name": LIBRARY, "latlas_version": __version__}
    shown = {f"images/{name}.png": image for name, image in _pictures(run).items()}
    captions = {path: found for path, image in shown.items() if (found := picture(image, Path(path).stem))}
    return {
        WEIGHTS: reading.content(run.path, WEIGHTS, reading.MOST_OF_WEIGHTS),
        CONFIG: about | description,
        CARD: card(run, model, captions),
        **shown,
    }


def _pictures(run: Run) -> dict[str, bytes]:
    """The first pictures of a run in the report's order, small, by name."""
    names = [name for name in FIGURES if (run.path / "figures" / f"{name}.png").is_file()]
    found = {name: small for name in names if (small := _small(run.path, f"figures/{name}.png")) is not None}
    return dict(list(found.items())[:MOST_PICTURES])


def _small(folder: Path, name: str) -> bytes | None:
    """A picture at most WIDEST pixels wide, with its title and caption; None if it is damaged."""
    try:
        with reading.picture(reading.content(folder, name), name) as image:
            texts = PngImagePlugin.PngInfo()
            for key in ("Title", "Description"):
                texts.add_itxt(key, str(image.info.get(key, "")))
            small = image.convert("RGB")
            small.thumbnail((WIDEST, 4 * WIDEST))
            content = io.BytesIO()
            small.save(content, "PNG", optimize=True, pnginfo=texts)
    except (InputError, *reading.PICTURE_ERRORS):
        return None
    return content.getvalue()


def is_hub_folder(path: Path) -> bool:
    """Whether a folder is laid out as on the hub, by whichever library."""
    return (path / CONFIG).is_file() and not is_run(path)


def read(folder: Path, brought: Brought = NOTHING) -> Model:
    """The model in a folder that was written for the hub, on the CPU; parts of one's own are brought along.

    Raises InputError if another library wrote it, or a file in it is missing or damaged.
    """
    folder, config, weights = _kept(folder)
    if reading.json_object(folder, config).get("library_name") != LIBRARY:
        raise InputError(f"{folder / CONFIG}: not a model of latlas (it has no library_name = {LIBRARY})")
    return described_model(folder, config, weights, brought)


def _kept(folder: Path) -> tuple[Path, str, str]:
    """The folder that holds the files, and their names in it: in the hub's own cache those in snapshots/COMMIT are
    links to what lies elsewhere in the folder two above.
    """
    at = folder.absolute()
    if at.parent.name != "snapshots":
        return folder, CONFIG, WEIGHTS
    return at.parent.parent, f"snapshots/{at.name}/{CONFIG}", f"snapshots/{at.name}/{WEIGHTS}"
