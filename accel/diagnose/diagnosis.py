"""Diagnosis of a run: its machine, its figures, a verdict and remedies, which draw themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.remedies import Remedy
from accel.diagnose.decision.time_split import TimeSplit
from accel.diagnose.machine.known_states import KnownState
from accel.diagnose.machine.this_machine import Machine
from accel.report.result import finite
from accel.report.run_verdict import Verdict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from accel.diagnose.trials.tried_remedy import AppliedRemedies

__all__ = ["SCHEMA", "Diagnosis"]

SCHEMA = 1
"""Version of the document of `Diagnosis.as_dict`."""


@dataclass
class Diagnosis:
    """Why a run is as fast as it is, and what would make it faster.

    Args:
        machine: the machine, as the run finds it.
        states: known-bad states of it, each with the line that mends it.
        figures: what was measured.
        split: where the time of an update goes.
        verdict: what takes most of it, in a sentence.
        remedies: what is possible here and not on already, the most promising first.
        left_out: measurements for which there was no time.
        seconds: that the diagnosis took.
        command: the command of the run; empty in Python.
        unmeasured: what cannot be measured here, and why, in sentences: some remedies have a ceiling alone, and what takes a GPU.
        applied: what came of trying the remedies; None if that was not asked for.
    """

    machine: Machine
    states: list[KnownState]
    figures: RunFigures
    split: TimeSplit
    verdict: Verdict
    remedies: list[Remedy] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seconds: float = 0.0
    command: str = ""
    unmeasured: list[str] = field(default_factory=list)
    applied: AppliedRemedies | None = None

    @property
    def shares(self) -> dict[str, float]:
        """Percent of the time by part (`accel.diagnose.decision.time_split.PARTS`), without those that take none."""
        return {part: 100 * self.split.share(part) for part, seconds in self.split.seconds.items() if seconds > 0}

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as plain values, with the version of their schema; what is not finite becomes None."""
        remedies = [
            {
                "name": remedy.change.name, "type": remedy.change.typed, "overrides": list(remedy.change.words),
                "speed_up": None if remedy.speed_up is None else asdict(remedy.speed_up),
                "ceiling": remedy.ceiling if isfinite(remedy.ceiling) else None, "changes": remedy.change.changes,
                "memory": remedy.change.memory, "note": remedy.change.note,
            }
            for remedy in self.remedies
        ]  # fmt: skip
        verdict = {**asdict(self.verdict), "kind": self.verdict.kind, "sentence": self.verdict.sentence}
        document = {
            "schema": SCHEMA, "kind": "diagnosis", "command": self.command, "seconds": self.seconds, "verdict": verdict,
            "split": {**self.split.seconds, "straggler_rank": self.split.straggler}, "remedies": remedies,
            "states": [asdict(state) for state in self.states], "machine": asdict(self.machine), "figures": asdict(self.figures),
            "left_out": self.left_out, "unmeasured": self.unmeasured, **({} if self.applied is None else self.applied.as_dict()),
        }  # fmt: skip
        plain: dict[str, Any] = finite(_listed(document))
        return plain

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from accel.report.diagnosis_page import applied_lines, draw, typed_lines

        return Group(draw(self), "", *map(Text, [*typed_lines(self.remedies), *applied_lines(self)]))

    def __repr__(self) -> str:
        from accel.report.diagnosis_page import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from accel.report.diagnosis_page import as_html

        return as_html(self)


def _listed(value: Any) -> Any:
    """Return a value with lists in place of tuples, and texts as keys, as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, list | tuple) else value
