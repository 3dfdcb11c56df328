"""A watch under which nothing may wait for the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from accel.parts import Watch


@dataclass(eq=False)
class Strict(Watch):
    """After update number `first` and before the end of number `last`, what makes the host wait for a CUDA device raises."""

    first: int = 1
    last: int = 8

    def after(self, step: int, loss: Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error" if self.first <= step < self.last else "default")

    def close(self) -> None:
        torch.cuda.set_sync_debug_mode("default")
