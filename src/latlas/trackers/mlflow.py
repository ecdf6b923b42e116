"""MLflow as a tracker: a run of an experiment, in a folder, a database or on a server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latlas.places import expanded
from latlas.text import printable

EXPERIMENT = "latlas"
AT_ONCE = {"params": 100, "metrics": 1000}  # that MLflow takes in one call
LONGEST = 6000  # characters of a parameter


class MLflow:
    """Writes a run of MLflow: the configuration as parameters, `train/NAME` at each logged step and `valid/NAME` at
    each epoch as metrics, the numbers as `test_NAME`, pictures as `pictures/NAME.png`.

    A run of latlas is one run of MLflow, known by its tag `latlas.id`: what goes on, or is copied again, adds to it
    what it lacks. `uri` is a folder, a database (sqlite:///mlflow.db) or a server; by default MLflow's own choice, as
    MLFLOW_TRACKING_URI says it. The `experiment` is by default that of MLFLOW_EXPERIMENT_NAME, or latlas.
    """

    def __init__(self, uri: str = "", experiment: str = "") -> None:
        from mlflow import MlflowClient

        if uri and "://" not in uri and not uri.startswith(("file:", "databricks")):
            # MLflow refuses folders unless asked, and naming one is asking.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = expanded(uri).resolve().as_uri()
        self.client = MlflowClient(tracking_uri=uri or None)
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        self.run = ""
        self.known = self.last = 0
        self.metrics: Mapping[str, float] = {}
        self.waiting: list[Any] = []

    def start(self, config: Mapping[str, Any], info: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        if self.run:  # training goes back: MLflow keeps what came of later steps beside what comes now
            self.known = info["step"]
            return
        # By what stays the same when the folder is moved. MLflow's filters have no sign for a quote in a text.
        identity = printable(f"{info['created']} {info['data']['fingerprint'][:16]}").replace("'", "")
        found = self.client.get_experiment_by_name(self.experiment)
        place = found.experiment_id if found else self.client.create_experiment(self.experiment)
        runs = self.client.search_runs([place], f"tags.`latlas.id` = '{identity}'", max_results=1)
        about = {"id": identity, "run": str(Path(info["run"]).resolve()), "data": info["data"]["name"],
                 "command": info.get("command") or "", "version": info.get("latlas", "")}  # fmt: skip
        tags = {f"latlas.{name}": printable(value) for name, value in about.items()}
        run = runs[0] if runs else self.client.create_run(place, tags=tags, run_name=printable(info["name"]))
        self.metrics = run.data.metrics
        self.run, self.known = run.info.run_id, int(run.data.tags.get("latlas.step", 0))
        self.client.update_run(self.run, status="RUNNING")
        params = {key: printable(value)[:LONGEST] for key, value in config.items()}
        changed = {key: value for key, value in params.items() if run.data.params.get(key, value) != value}
        new = [Param(key, value) for key, value in params.items() if key not in run.data.params]
        for at in range(0, len(new), AT_ONCE["params"]):
            self.client.log_batch(self.run, params=new[at : at + AT_ONCE["params"]])
        for key, value in changed.items():  # MLflow never changes a parameter
            self.client.set_tag(self.run, f"latlas.changed.{key}", value)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        self._metrics(step, values)

    def epoch(self, step: int, values: Mapping[str, float]) -> None:
        # The means over an epoch would be more points on the curves of the steps.
        chosen = {k: v for k, v in values.items() if k in ("epoch", "seconds") or k.startswith("valid/")}
        self._metrics(step, chosen)
        self._flush()

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        self.client.log_image(self.run, image, artifact_file=f"pictures/{name}.png")

    def end(self, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = _now()
        new = {name: value for name, value in numbers.items() if self.metrics.get(name) != value}
        self.waiting += [Metric(name, value, now, self.last) for name, value in new.items()]
        self._flush()
        if numbers:  # one that was stopped can go on
            self.client.set_terminated(self.run, "FINISHED")

    def _metrics(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        self.last = step
        if step > self.known:
            now = _now()
            self.waiting += [Metric(name, float(value), now, step) for name, value in values.items()]
        if len(self.waiting) >= AT_ONCE["metrics"] // 2:
            self._flush()

    def _flush(self) -> None:
        while self.waiting:
            self.client.log_batch(self.run, metrics=self.waiting[: AT_ONCE["metrics"]])
            self.waiting = self.waiting[AT_ONCE["metrics"] :]
        self.client.set_tag(self.run, "latlas.step", str(max(self.known, self.last)))


def _now() -> int:
    """Milliseconds, as MLflow counts time."""
    return int(1000 * time.time())
