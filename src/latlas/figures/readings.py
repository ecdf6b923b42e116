"""How to read each picture: kept in its file, and shown beneath it in the report."""

from __future__ import annotations

READING = {
    "reconstructions": "The closer a lower image is to the one above, the more of it the code keeps.",
    "restored": "A good model takes the damage away and keeps the item: the lower error is the smaller one.",
    "samples": "Items that the model makes up: good ones look like the data and differ from each other.",
    "pseudo-inputs": "What codes drawn from the prior are near to. Each kind of item should have some of its own; all "
    "alike, they are a prior of one component.",
    "samples-factored": "Codes are drawn as if the dimensions knew nothing of each other. Where they do, samples "
    "fall between the data, and a richer density gives test codes more log-density.",
    "samples-full": "Codes follow one Gaussian: what lies between the classes is drawn as often as they are.",
    "samples-mixture": "Codes are drawn from the clusters that they form. Higher log-density of test codes is better; "
    "compare it among densities of the same run alone.",
    "samples-flow": "Codes follow any shape that their cloud has. Higher log-density of test codes is better; "
    "compare it among densities of the same run alone.",
    "snapshots": "Follow one place from panel to panel: the same code, after more training.",
    "latent": "Items with similar codes lie near each other; a class on its own island is known by its code.",
    "manifold": "A map of what the model can draw: each place shows what its code decodes to.",
    "traversals": "What changes along a row is what that dimension stands for; no change: it is unused.",
    "morph": "In a good latent space every step in between could be in the data.",
    "losses": "Distortion is what the decoder misses, rate what the codes hold, and the ELBO minus both: up is better. "
    "Validation much worse than training means overfitting.",
}
COLUMN_READING = {
    "reconstructions": "Dots on the line are exact; a flat cloud is a column that the codes leave out.",
    "samples": "Where the line leaves the grey, samples are distributed otherwise than the data.",
    "traversals": "A steep line is a column that this dimension moves; only flat lines: it is unused.",
}


def reading(name: str, columns: bool = False) -> str:
    """How to read the picture `name`; `columns`: of a table, or as lines."""
    if columns and name.startswith("samples"):
        return COLUMN_READING["samples"]
    return COLUMN_READING.get(name, READING[name]) if columns else READING[name]
