"""Trackers: what follows a run from outside it. TensorBoard, MLflow, or an object of your own."""

from latlas.trackers.followers import Followers
from latlas.trackers.table import TRACKERS, made, own
from latlas.trackers.tracker import Tracker

__all__ = ["TRACKERS", "Followers", "Tracker", "made", "own"]
