"""The folder of a run's checkpoints: what is on it, and what stays."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from accel.checkpoints.manifest import Damaged, Manifest
from accel.errors import nearest
from accel.system import atomic_files
from accel.system.faults import point

__all__ = ["FOLDER", "LOWER", "BestMetric", "CheckpointFolder", "files", "finished", "names"]

FOLDER = "checkpoints"
LOWER = ("loss", "error", "perplexity", "bits_per", "wer", "cer", "mae", "mse", "rmse")
"""In a metric's name these say that less of it is better."""


@dataclass(frozen=True)
class BestMetric:
    """Which checkpoint is the best: by the metric's name, and which end of it is better."""

    metric: str
    lower: bool

    @staticmethod
    def read(text: str) -> BestMetric:
        """From `accuracy`, whose better end its name tells, or `min:NAME` and `max:NAME`."""
        end, colon, name = text.rpartition(":")
        if colon and end in ("min", "max"):
            return BestMetric(name, end == "min")
        words = text.lower().split("_")
        return BestMetric(text, any(word in words for word in LOWER) or text.lower().startswith(LOWER))

    def of(self, records: dict[str, Manifest]) -> str | None:
        """The name of the best of `records`, the first of equals; None where no evaluation gave the metric."""
        values = ((name, records[name].metrics.get(self.metric)) for name in sorted(records))
        found = [(value if self.lower else -value, name) for name, value in values if value is not None]
        return min(found)[1] if found else None

    def missing(self, metrics: dict[str, float]) -> str:
        """The sentence where the evaluation gives no such metric; empty where it does."""
        if not metrics or self.metric in metrics:
            return ""
        given = ", ".join(metrics)
        return f"checkpoint.best={self.metric}: the evaluation gives {given}{nearest(self.metric, metrics)}"


class CheckpointFolder:
    """The checkpoints in a folder.

    Args:
        folder: where they lie; it need not be there yet.
        keep: how many of the newest stay.
        best: by what the best is told, which stays as well.
    """

    def __init__(self, folder: Path, keep: int, best: BestMetric | None) -> None:
        self.folder, self.keep, self.best = folder, keep, best
        self.records: dict[str, Manifest] = {}
        for name in names(folder):
            with suppress(Damaged, PermissionError):
                self.records[name] = Manifest.read(folder / f"{name}.json")

    def kept(self) -> set[str]:
        """The newest, the best, and the newest that is proven finite."""
        newest = sorted(self.records)
        best = self.best.of(self.records) if self.best else None
        return {*newest[-self.keep :], *self.finite()[-1:], *([best] if best else [])}

    def finite(self) -> list[str]:
        """Those that are proven finite, the oldest first."""
        return [name for name in sorted(self.records) if self.records[name].finite]

    def add(self, record: Manifest) -> None:
        """Knows a checkpoint that has just been written whole, and takes away what need not stay."""
        self.records[record.name] = record
        staying = self.kept()
        for name in names(self.folder):
            if name not in staying:
                self.remove(name)
        self.remove_temporaries()
        atomic_files.flush_folder(self.folder)

    def remove_temporaries(self) -> None:
        """Takes away what a process that was killed was writing."""
        for left in self.folder.glob(".*.tmp"):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Takes one away, its .json first: whatever is left of it then is no checkpoint."""
        point("saving.remove.begun")
        self.records.pop(name, None)
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        point("saving.remove.unlisted")
        for file in self.folder.glob(f"{name}.*"):
            shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)

    def remove_after(self, name: str) -> None:
        """Takes away what is newer than `name`: the run went back to it, and what came after is of another."""
        for newer in [other for other in names(self.folder) if other > name]:
            self.remove(newer)


def finished(folder: Path) -> bool:
    """Whether a checkpoint in a folder was ever finished, whatever has become of it since."""
    return any(file.endswith(".json") for file in files(folder))


def names(folder: Path) -> list[str]:
    """The checkpoints in a folder, whole or not, the oldest first."""
    return sorted({file.partition(".")[0] for file in files(folder) if file.endswith((".pt", ".json"))})


def files(folder: Path) -> list[str]:
    """What lies in a folder and belongs to a checkpoint; empty where there is no such folder. Raises PermissionError: what may not
    be looked at is not nothing, as `glob` has it."""
    try:
        return [file for file in os.listdir(folder) if file.startswith("update-")]
    except (FileNotFoundError, NotADirectoryError):
        return []
