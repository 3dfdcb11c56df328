"""End of a run before the last of its updates."""

from __future__ import annotations

from dataclasses import dataclass

from accel.parts.part import Part

__all__ = ["Stop"]


@dataclass(eq=False)
class Stop(Part):
    """Decision to end the run early, by the metrics of its evaluations; plainest: it ends where its length says."""

    def identity(self) -> None:
        """Return None: it changes no update, only how many there are. So a resumed run may have other settings."""

    def reason(self) -> str:
        """Return why the run is to end with its last update, in words; empty if it is not. Every rank gets the same answer.

        Asked after each evaluation, and by a resumed run before its first update.
        """
        return ""

    def capture_blocker(self) -> str:
        return ""  # it acts between the updates
