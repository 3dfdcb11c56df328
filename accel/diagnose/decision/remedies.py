"""Remedies: what is possible in a run, with the speed-up that its figures predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.prediction import PREDICTIONS
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.decision.time_split import BETWEEN, TimeSplit
from accel.diagnose.decision.timing import Range

__all__ = ["WORTH", "Changes", "Possible", "Remedy", "capped", "rank_remedies"]

Changes = Literal["nothing", "rounding", "recipe"]
"""What a remedy does to the numbers: not a bit; the last bits; or the training itself, which may end elsewhere."""
WORTH = 1.02
"""Speed-up below which a remedy is not listed."""


@dataclass(frozen=True)
class Possible:
    """Change that is possible in a run, and not on already.

    Args:
        name: of the change, one of `PREDICTIONS`.
        typed: what is typed, or written in Python.
        parts: of the time that it can take away (`TimeSplit`).
        changes: what it does to the numbers.
        count: readers, threads, or the factor on a size.
        memory: bytes that it takes; None if that is not known.
        note: clause that says more; may be empty.
        overrides: that `--apply` tries; empty if it cannot.
        share: of those parts, the most that it can take away, from 0 to 1.
    """

    name: str
    typed: str
    parts: tuple[str, ...]
    changes: Changes = "nothing"
    count: int = 0
    memory: int | None = None
    note: str = ""
    overrides: Overrides = field(default_factory=Overrides)
    share: float = 1.0

    @property
    def words(self) -> tuple[str, ...]:
        """The overrides, one a text."""
        return self.overrides.words


@dataclass(frozen=True)
class Remedy:
    """Possible change with its predicted effect.

    Args:
        change: the change.
        speed_up: predicted, with bounds; None if nothing was measured that tells.
        ceiling: speed-up that no change of these parts can exceed (Amdahl).
        of_updates: predicted of the updates alone, without evaluations and checkpoints; None as above.
    """

    change: Possible
    speed_up: Range | None
    ceiling: float
    of_updates: Range | None = None


def rank_remedies(figures: RunFigures, split: TimeSplit, possible: Sequence[Possible]) -> list[Remedy]:
    """Return the changes that are worth it, the most promising first. A pure function of the figures.

    Those without a prediction come last, by their ceilings.
    """
    rest = split.between
    whole = Range.exact(figures.step.median + rest)  # predictions have the noise, relative to it: a slow moment meets both
    remedies = []
    for change in possible:
        after = PREDICTIONS[change.name](figures, split, change.count) if change.name in PREDICTIONS else None
        speed_up = None if after is None else capped(whole.over(after), split.ceiling(*change.parts))
        ceiling = split.ceiling(*change.parts, share=change.share)
        of_updates = None
        if after is not None and after.low > rest:
            most = split.without(*BETWEEN).ceiling(*change.parts)
            of_updates = capped(Range.exact(figures.step.median).over(after + -rest), most)
        if min(ceiling, ceiling if speed_up is None else speed_up.middle) >= WORTH:
            remedies.append(Remedy(change, speed_up, ceiling, of_updates))
    return sorted(remedies, key=lambda remedy: (remedy.speed_up is None, -(remedy.speed_up or Range.exact(remedy.ceiling)).middle))


def capped(number: Range, most: float) -> Range:
    """Return a number that is at most `most`: what is predicted beyond it is noise."""
    return Range(min(number.middle, most), min(number.low, most), min(number.high, most))
