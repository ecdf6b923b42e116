"""The Python interface: one call for each command; the command line makes the same calls.

A run is given as a `Run`, a run folder, or a name under runs/. `out` is the file that a call writes: None writes
nothing, "" takes the default name in the run folder.
"""

from latlas.api.bringing import open_run
from latlas.api.exploring import explore
from latlas.api.exporting import export, load
from latlas.api.in_place import fit, item_of
from latlas.api.learning import prune, resume, train
from latlas.api.measuring import animate, compare_runs, diagnose, evaluate, evaluation_of, write_report
from latlas.api.scoring import encode, neighbours, score
from latlas.api.studying import plan_study, study
from latlas.api.tracking import log
from latlas.api.using import decode, morph, reconstruct, sample, vary
from latlas.listing import data_info, fetch_data, list_data, list_recipes, list_runs, show_recipe

__all__ = [
    "animate",
    "compare_runs",
    "data_info",
    "decode",
    "diagnose",
    "encode",
    "evaluate",
    "evaluation_of",
    "explore",
    "export",
    "fetch_data",
    "fit",
    "item_of",
    "list_data",
    "list_recipes",
    "list_runs",
    "load",
    "log",
    "morph",
    "neighbours",
    "open_run",
    "plan_study",
    "prune",
    "reconstruct",
    "resume",
    "sample",
    "score",
    "show_recipe",
    "study",
    "train",
    "vary",
    "write_report",
]
