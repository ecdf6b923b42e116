"""Comparison of several runs: a table that ranks only comparable numbers, and a page of pictures."""

from latlas.compare.collect import by_name, by_validation, gather
from latlas.compare.page import page, title_of
from latlas.compare.ranking import Column, Comparison, Entry, Picture
from latlas.compare.rows import to_csv
from latlas.compare.summary import text_table, to_dict

__all__ = [
    "Column",
    "Comparison",
    "Entry",
    "Picture",
    "by_name",
    "by_validation",
    "gather",
    "page",
    "text_table",
    "title_of",
    "to_csv",
    "to_dict",
]
