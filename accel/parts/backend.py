from __future__ import annotations

from dataclasses import dataclass

import torch

from accel.parts.part import Part


@dataclass(eq=False)
class Backend(Part):
    """Global switches of torch that belong to no other part; plainest: all as they are."""

    def apply(self, device: torch.device) -> None:
        """Sets every switch, before the model is made."""

    def restore(self) -> None:
        """Puts every switch back, when the run ends."""
