from __future__ import annotations

from dataclasses import dataclass

from accel.parts.grads import Grads
from accel.parts.part import Part


@dataclass(eq=False)
class Clip(Part):
    """How long a gradient may be; plainest: as long as it is."""

    def limit(self, grads: Grads) -> Grads:
        """The gradients of the whole window, limited."""
        return grads
