from __future__ import annotations

from dataclasses import dataclass

from accel.parts.part import Part


@dataclass(eq=False)
class Rate(Part):
    """What every learning rate that the user wrote is multiplied by, the optimiser's and a schedule's; plainest: 1."""

    factor = 1.0
