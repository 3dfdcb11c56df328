"""Folder of a run's checkpoints: its contents, and which of them are kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf, isnan, nan
from pathlib import Path

from accel.checkpoints.manifest import Damaged, Manifest
from accel.errors import nearest
from accel.system import atomic_files
from accel.system.faults import point

__all__ = ["FOLDER", "LOWER", "BestMetric", "CheckpointFolder", "files", "finished", "names", "remove_path"]

FOLDER = "checkpoints"
LOWER = ("loss", "error", "perplexity", "bits_per", "wer", "cer", "mae", "mse", "rmse")
"""Words in a metric's name that say that less is better."""


@dataclass(frozen=True)
class BestMetric:
    """Metric by which a checkpoint is the best, and whether less of it is better."""

    metric: str
    lower: bool

    @staticmethod
    def read(text: str) -> BestMetric:
        """Return the metric of a setting: `accuracy`, whose name says which end is better, or `min:NAME` and `max:NAME`."""
        end, colon, name = text.rpartition(":")
        if colon and end in ("min", "max"):
            return BestMetric(name, end == "min")
        words = text.lower().split("_")
        return BestMetric(text, any(word in words for word in LOWER) or text.lower().startswith(LOWER))

    def of(self, manifests: dict[str, Manifest]) -> str | None:
        """Return the name of the best checkpoint, the first of equals; None if no evaluation gave the metric."""
        values = ((name, manifests[name].metrics.get(self.metric)) for name in sorted(manifests))
        costs = [(value if self.lower else -value, name) for name, value in values if value is not None]
        return min(costs)[1] if costs else None

    def improved(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Return whether the last evaluation is better than all before it, or lacks the metric, which saving reports."""
        values = [float(metrics.get(self.metric, nan)) for metrics in history]
        costs = [value if self.lower else -value for value in values]
        known = [cost for cost in costs[:-1] if not isnan(cost)]
        return bool(history) and (self.metric not in history[-1] or costs[-1] < min(known, default=inf))

    def missing(self, metrics: dict[str, float]) -> str:
        """Return a sentence if the evaluation gives no such metric; an empty text if it does."""
        if not metrics or self.metric in metrics:
            return ""
        names = ", ".join(metrics)
        return f"checkpoint.best={self.metric}: the evaluation gives {names}{nearest(self.metric, metrics)}"


class CheckpointFolder:
    """Checkpoints in a folder.

    Args:
        path: the folder; it need not exist yet.
        keep: how many of the newest are kept.
        best: metric by which the best is kept as well; None for none.
    """

    def __init__(self, path: Path, keep: int, best: BestMetric | None) -> None:
        self.path, self.keep, self.best = path, keep, best
        self.manifests: dict[str, Manifest] = {}
        for name in names(path):
            with suppress(Damaged, PermissionError):
                self.manifests[name] = Manifest.read(path / f"{name}.json")

    def kept(self) -> set[str]:
        """Return the names of those that are kept: the newest, the best, and the newest that is known to be finite."""
        newest = sorted(self.manifests)
        best = self.best.of(self.manifests) if self.best else None
        return {*newest[-self.keep :], *self.finite()[-1:], *([best] if best else [])}

    def finite(self) -> list[str]:
        """Return the names of checkpoints known to be finite, oldest first."""
        return [name for name in sorted(self.manifests) if self.manifests[name].finite]

    def add(self, manifest: Manifest) -> None:
        """Add a checkpoint that has just been written whole, and remove those that are no longer kept."""
        self.manifests[manifest.name] = manifest
        kept = self.kept()
        for name in names(self.path):
            if name not in kept:
                self.remove(name)
        self.remove_temporaries()
        atomic_files.flush_folder(self.path)

    def remove_temporaries(self) -> None:
        """Remove what a killed process was writing."""
        for file in self.path.glob(".*.tmp"):
            remove_path(file)

    def remove(self, name: str) -> None:
        """Remove one checkpoint, its .json first: whatever is left then is no checkpoint."""
        point("saving.remove.begun")
        self.manifests.pop(name, None)
        (self.path / f"{name}.json").unlink(missing_ok=True)
        point("saving.remove.unlisted")
        for file in self.path.glob(f"{name}.*"):
            remove_path(file)

    def remove_after(self, name: str) -> None:
        """Remove the checkpoints newer than `name`: the run goes on from it, and those after it are of another course."""
        for newer in [later for later in names(self.path) if later > name]:
            self.remove(newer)


def remove_path(path: Path) -> None:
    """Remove a file, a link or a whole folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def finished(folder: Path) -> bool:
    """Return whether a checkpoint in a folder was ever finished, whatever became of it since."""
    return any(file.endswith(".json") for file in files(folder))


def names(folder: Path) -> list[str]:
    """Return the names of the checkpoints in a folder, whole or not, oldest first."""
    return sorted({file.partition(".")[0] for file in files(folder) if file.endswith((".pt", ".json"))})


def files(folder: Path) -> list[str]:
    """Return the files and folders that belong to a checkpoint; none if there is no such folder.

    Raises:
        PermissionError: if the folder may not be read. (`glob` would return nothing.)
    """
    try:
        return [file for file in os.listdir(folder) if file.startswith("update-")]
    except (FileNotFoundError, NotADirectoryError):
        return []
