from __future__ import annotations

from dataclasses import dataclass

from accel.parts.part import Part


@dataclass(eq=False)
class Backend(Part):
    """Global switches of torch that belong to no other part; plainest: all as they are."""

    def restore(self) -> None:
        """Puts every switch back, when the run ends."""
