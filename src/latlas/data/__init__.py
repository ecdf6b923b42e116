"""Data sets: named, folders, arrays and tables, read into one kind of value."""

from latlas.data.catalogue import cache_home, data_home
from latlas.data.dataset import UNLABELLED, Dataset, Kind, Scaling, Split, is_labelled
from latlas.data.fetch import fetch
from latlas.data.load import Like, as_source, load, load_items
from latlas.data.named import source_info, sources
from latlas.data.options import DataOptions
from latlas.data.splits import Raw

__all__ = [
    "UNLABELLED",
    "DataOptions",
    "Dataset",
    "Kind",
    "Like",
    "Raw",
    "Scaling",
    "Split",
    "as_source",
    "cache_home",
    "data_home",
    "fetch",
    "is_labelled",
    "load",
    "load_items",
    "source_info",
    "sources",
]
