"""Single items: a line for each with its codes or scores, the item that somebody names, and its nearest others."""

from latlas.items.finder import Finder
from latlas.items.nearest import nearest_items
from latlas.items.records import codes_frame, frame, lines, title_of, write_table
from latlas.items.scores import Request, score

__all__ = [
    "Finder",
    "Request",
    "codes_frame",
    "frame",
    "lines",
    "nearest_items",
    "score",
    "title_of",
    "write_table",
]
