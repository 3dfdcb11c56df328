"""Saver of a run that has no directory."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from accel.checkpoints.saver import Saver
from accel.parts import Progress

__all__ = ["NoSaver"]


class NoSaver(Saver):
    """Saver of a run that writes nothing."""

    def __init__(self) -> None:
        self.unsaved: dict[str, str] = {}
        self.best, self.last_saved = None, ""

    def due(self, progress: Progress) -> bool:
        return False

    epoch_due = due

    def save(self, progress: Progress, loss: Tensor | None = None, before_evaluation: bool = False) -> None: ...

    def drop_newer(self) -> None: ...

    def wait(self) -> str:
        return ""

    def newest_finite(self) -> Path | None:
        return None
