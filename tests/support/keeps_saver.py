"""Watch that keeps the saver of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from accel.parts import Watch

__all__ = ["KeepsSaver"]


@dataclass(eq=False)
class KeepsSaver(Watch):
    """Watch that keeps the saver of a run, which has none after its end."""

    saver: Any = None

    def begin(self, run: Any) -> None:
        self.run = run

    def after(self, step: int, loss: torch.Tensor) -> None:
        self.saver = self.run.saver
