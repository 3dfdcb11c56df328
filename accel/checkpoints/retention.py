"""Folder of a run's checkpoints: its contents, and which of them are kept."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from accel.checkpoints.manifest import Damaged, Manifest
from accel.checkpoints.weights.best_metric import BestMetric
from accel.system import atomic_files
from accel.system.faults import point

__all__ = ["FOLDER", "CheckpointFolder", "files", "finished", "names", "remove_path"]

FOLDER = "checkpoints"


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
