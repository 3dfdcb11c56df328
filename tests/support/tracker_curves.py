"""Curves as each tracker has them, and as metrics.jsonl has them: for each name, its updates and numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from sys import float_info

import pytest
from numpy import float32

from accel.parts import Part
from accel.schema import plugin_registry
from tests.support.wandb_files import offline_runs

__all__ = ["TRACKERS", "Curves", "curves", "make_tracker", "mlflow_runs", "recorded"]

Curves = dict[str, list[tuple[int, str]]]
TRACKERS = ("csv", "tensorboard", "wandb", "mlflow")
SPED = ("train/samples_per_second", "train/data_wait_percent")
"""Curves that differ from run to run."""


def make_tracker(name: str, folder: Path, every: int = 2) -> Part:
    """A tracker that writes into a folder, or a run directory in it; the test is skipped if its package is not installed."""
    settings = {"wandb": {"mode": "offline"}, "mlflow": {"tracking_uri": str(folder / "mlruns")}}.get(name, {})
    if name != "csv":
        pytest.importorskip(name, reason=f"needs the extra {name}", exc_type=ImportError)
    tracker: Part = plugin_registry.load(name)(every=every, **settings)
    return tracker


def digits(number: float) -> str:
    """A number as float32, which TensorBoard has, in its nine digits; none for one that JSON and MLflow have not."""
    return f"{float32(number):.9g}" if abs(number) < float_info.max else "none"


def recorded(out: Path) -> Curves:
    """What metrics.jsonl has of losses, learning rates and metrics; every number in its nine digits."""
    curves: Curves = {}
    for line in (out / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        names = {"loss": "train/loss", "lr": "train/learning_rate"}
        names |= {name: name.replace("_", "/", 1) for name in row if name.startswith(("val_", "test_"))}
        for name, tag in names.items():
            if name in row:
                curves.setdefault(tag, []).append((row["update"], "none" if row[name] is None else digits(row[name])))
    return curves


def of_csv(out: Path) -> Curves:
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("update", "time")]
    return {name: [(int(row["update"]), digits(float(row[name]))) for row in rows if row[name]] for name in names}


def of_tensorboard(out: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(point.step, digits(point.value)) for point in events.Scalars(tag)] for tag in tags}


def of_wandb(out: Path) -> Curves:
    """Of the only offline run."""
    (rows,) = offline_runs(out).values()
    names = {name for row in rows for name in row if name[0] != "_"}
    return {name: [(int(row["_step"]), digits(float(row[name]))) for row in rows if name in row] for name in names}


def mlflow_runs(out: Path) -> dict[str, Curves]:
    """Of the runs in the folder beside the run directories that were named after this one, by their ids; the newest is the last."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient((out.parent / "mlruns").as_uri())
    numbers = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for run in client.search_runs(numbers) if run.data.tags.get("accel.out") == str(out.resolve())]
    runs.sort(key=lambda run: run.info.start_time)
    return {
        run.info.run_id: {
            name: [(point.step, digits(point.value)) for point in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        for run in runs
    }


READERS: dict[str, Callable[[Path], Curves]] = {
    "csv": of_csv,
    "tensorboard": of_tensorboard,
    "wandb": of_wandb,
    "mlflow": lambda out: next(reversed(mlflow_runs(out).values())),
}


def curves(name: str, out: Path) -> Curves:
    """The curves that the tracker called `name` has of a run, without those of its speed, whose updates are not doubled."""
    read = READERS[name](out)
    for tag in SPED:
        updates = [update for update, _ in read.pop(tag, [])]
        assert updates == sorted(set(updates)), (name, tag)
    return read
