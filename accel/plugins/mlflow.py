"""MLflow: a watch that hands the curves of a run to MLflow: a server, a database or a folder.

`tracking_uri` says where: `sqlite:///mlflow.db`, `http://HOST:5000`, or a
folder; null leaves it to MLflow, which takes MLFLOW_TRACKING_URI, or mlflow.db
in the current directory. MLflow calls its folders outdated, and this plugin
allows the one that is named. The run has all settings as parameters
(`task.width`, `plugins.amp.dtype`), and versions, host, command, git revision
and the result as tags, `accel.NAME`. The step of a metric is the update.

A point is handed over when a checkpoint that holds it is on the disk, because
MLflow forgets none: `checkpoint.every` or `checkpoint.minutes` let you see more.
A resumed run goes on in the same run of MLflow, without doubled or missing
points, also after `kill -9`. One that goes back behind what MLflow has begins
another run there, with all points up to then, and tags the one that it has left.

Helps   comparing the runs of a team in one place.
Hurts   nothing; a run without a directory writes nothing.
Costs   lines of a file for each block of updates, as `wandb` does. MLflow takes
        some seconds to import, at the start, and works in a thread beside the
        training. The end of a run waits for it, up to `patience`. A server that
        is away is asked again and again, and the training never waits. What it
        has not taken at the end is in
        `trackers/mlflow.jsonl`; a resumed run hands it over.
Source  https://mlflow.org/docs/latest/ml/tracking
Exact   A kill may fall between a batch of points and MLflow's answer. Then a
        resumed run asks MLflow what it has of that batch. MLflow keeps no
        infinity: it becomes the largest float64.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from accel.parts.shared.trackers.delivered_tracker import DeliveredTracker
from accel.parts.shared.trackers.tracker import Point
from accel.system.machine import Need
from accel.values import Place

__all__ = ["MLflow"]

KEY = "accel.key"
"""Tag by which a resumed run is recognised."""
METRICS, PARAMETERS, LONGEST = 1000, 100, 6000
"""Entries of a request, and characters of a value, that MLflow takes at most."""


@dataclass(eq=False)
class MLflow(DeliveredTracker):
    """Tracker that hands the points to MLflow, with the settings of `Tracker` and `DeliveredTracker`.

    Args:
        tracking_uri: server, database or folder of MLflow; null leaves it to MLflow.
        experiment: MLflow's experiment, which is made if it is not there.
        run_name: name of the run; null for that of its directory.
        tags: tags of the run, by name.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:mlflow", extra="mlflow"),)

    tracking_uri: Place | None = None
    experiment: str = "accel"
    run_name: str | None = None
    tags: dict | None = None  # type: ignore[type-arg]

    def prepare(self) -> None:
        for name, value in (("MLFLOW_DISABLE_TELEMETRY", "true"), ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")):
            os.environ.setdefault(name, value)  # this thread tries again by itself
        uri = self.uri = self.tracking_uri
        if uri is not None and ("://" not in uri or uri.startswith("file:")):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            self.uri = uri if ":" in uri else Path(uri).resolve().as_uri()
        import mlflow.tracking  # noqa: F401

    def connect(self, run: str, left: str) -> bool:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=self.uri)
        experiment = self.client.get_experiment_by_name(self.experiment)
        number = self.client.create_experiment(self.experiment) if experiment is None else experiment.experiment_id
        known = self.find(number, run)
        if known:
            self.client.update_run(known, status="RUNNING")
        name, tags = self.run_name or self.description.name, {KEY: run, "mlflow.source.name": "accel"}
        self.id = known or self.client.create_run(number, run_name=name, tags=tags).info.run_id
        self.describe()
        if left and (other := self.find(number, left)):
            self.client.set_tag(other, "accel.left_for", self.id)
        return bool(known)

    def find(self, experiment: str, key: str) -> str:
        """Return the id of the run of MLflow with a key; empty if there is none."""
        runs = self.client.search_runs([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
        return str(runs[0].info.run_id) if runs else ""

    def describe(self) -> None:
        """Log the settings as parameters, and as tags the facts and those parameters that are others now: MLflow changes none."""
        from mlflow.entities import Param

        known = self.client.get_run(self.id).data.params
        wanted = {name: str(value)[:LONGEST] for name, value in self.description.parameters.items()}
        new = [Param(name, value) for name, value in wanted.items() if name not in known]
        for start in range(0, len(new), PARAMETERS):
            self.client.log_batch(self.id, params=new[start : start + PARAMETERS])
        changed = {f"changed.{name}": value for name, value in wanted.items() if known.get(name, value) != value}
        facts = {**self.description.facts, **changed, "out": self.description.out}
        self.set_tags({**{f"accel.{name}": value for name, value in facts.items()}, **(self.tags or {})})

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Set tags of the run, which replace those of the same name."""
        from mlflow.entities import RunTag

        entries = [RunTag(name, str(value)[:LONGEST]) for name, value in tags.items()]
        for start in range(0, len(entries), PARAMETERS):
            self.client.log_batch(self.id, tags=entries[start : start + PARAMETERS])

    def lacking(self, points: list[Point]) -> list[Point]:
        names = {name for point in points for name in point.values}
        has = {name: {metric.step for metric in self.client.get_metric_history(self.id, name)} for name in names}
        return [
            Point(point.step, point.time, {name: value for name, value in point.values.items() if point.step not in has[name]})
            for point in points
        ]

    def send(self, points: list[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, round(1000 * point.time), point.step) for point in points for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), METRICS):
            self.client.log_batch(self.id, metrics=metrics[start : start + METRICS])

    def finish(self) -> None:
        self.set_tags({f"accel.result.{name}": value for name, value in self.summary.items()})
        self.client.set_terminated(self.id, status="KILLED" if self.exit_code else "FINISHED")

    def place(self) -> str:
        return f"the run {self.id}"
