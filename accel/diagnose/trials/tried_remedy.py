"""What came of trying remedies, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from accel.compare import LossDifference, SpeedRatio
from accel.diagnose.decision.remedies import Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials.batch_tuning import TunedBatch
from accel.diagnose.trials.reader_tuning import TunedReaders
from accel.report.formatting import size
from accel.report.result import finite

__all__ = ["AppliedRemedies", "TriedRemedy", "Untried"]


@dataclass(frozen=True)
class TriedRemedy:
    """Remedy with what came of it.

    Args:
        remedy: the remedy, with its prediction.
        overrides: that were tried: those of the remedy, with what was tuned.
        speed: how many times faster the run was with it, beside those kept before; None if it could not be measured.
        loss: its losses beside those without it; None if they are the same.
        is_kept: whether it is faster beyond the noise, and the loss no worse.
        reason: why it was not measured; empty if it was.
        tuned: the search for its settings; None if there is nothing to search.
    """

    remedy: Remedy
    overrides: Overrides
    speed: SpeedRatio | None = None
    loss: LossDifference | None = None
    is_kept: bool = False
    reason: str = ""
    tuned: TunedReaders | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The overrides, one a text."""
        return self.overrides.words

    @property
    def sentence(self) -> str:
        """What came of it, in words."""
        if self.speed is None:
            return f"left out: {self.reason}"
        speed, predicted = self.speed, self.remedy.of_updates
        expected = "" if predicted is None or self.tuned is not None else f", {predicted.middle:.2f} predicted"
        loss = "" if self.loss is None else f"; loss {self.loss.difference:+.3g} (noise {self.loss.noise:.2g})"
        word = "kept" if self.is_kept else "left out"
        return f"{word}: {speed.ratio:.2f} ({speed.low:.2f} to {speed.high:.2f}) times as fast{expected}{loss}"

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values; what is not finite becomes None."""
        plain: dict[str, Any] = finite({
            "name": self.remedy.change.name, "overrides": list(self.words), "is_kept": self.is_kept, "reason": self.reason,
            "predicted": None if self.remedy.of_updates is None else asdict(self.remedy.of_updates),
            "measured": None if self.speed is None else asdict(self.speed),
            "loss": None if self.loss is None else asdict(self.loss),
            "tuned": None if self.tuned is None else _plain(asdict(self.tuned)),
        })  # fmt: skip
        return plain


@dataclass(frozen=True)
class Untried:
    """Remedy that was not tried.

    Args:
        typed: what is typed for it.
        reason: why, in words.
    """

    typed: str
    reason: str


@dataclass(frozen=True)
class AppliedRemedies:
    """Remedies that were tried one after the other, each beside those that were kept before it.

    Args:
        tried: what came of each, in order.
        untried: those that were not, each with the reason.
        together: how many times faster the run is with all that was kept; None if less than two were, or it failed.
        batch: the batch size that fits, which is for the user to take; None if it was not searched.
        failure: why the search for a batch size failed; empty if it did not.
    """

    tried: tuple[TriedRemedy, ...] = ()
    untried: tuple[Untried, ...] = ()
    together: SpeedRatio | None = None
    batch: TunedBatch | None = None
    failure: str = ""

    @property
    def kept(self) -> Overrides:
        """The overrides of all that was kept."""
        return sum((one.overrides for one in self.tried if one.is_kept), Overrides())

    @property
    def lines(self) -> list[str]:
        """What was tried, kept, tuned and not tried, a line each."""
        lines = []
        for one in self.tried:
            note = f" ({one.remedy.change.note})" if one.is_kept and one.remedy.change.note else ""
            lines.append(f"{' '.join(one.words)}: {one.sentence}{note}")
            lines += [f"  {line}" for line in tuning_lines(one.tuned)]
        if self.together is not None:
            speed = self.together
            lines.append(f"together: {speed.ratio:.2f} ({speed.low:.2f} to {speed.high:.2f}) times as fast")
        lines += [batch_line(self.batch)] if self.batch is not None else []
        lines += [f"batch_size: {self.failure}"] if self.failure else []
        return lines + [f"{one.typed}: not tried: {one.reason}" for one in self.untried]

    def as_dict(self) -> dict[str, Any]:
        """Return what a document has of them, as plain values; what is not finite becomes None."""
        plain: dict[str, Any] = finite({
            "applied": [one.as_dict() for one in self.tried],
            "untried": [asdict(one) for one in self.untried],
            "together": None if self.together is None else asdict(self.together),
            "batch": None if self.batch is None else _plain({**asdict(self.batch), "speed": self.batch.speed}),
        })  # fmt: skip
        return plain


def tuning_lines(tuned: TunedReaders | None) -> list[str]:
    """Return how settings were searched, a line each: what was compared, and why the search ended."""
    lines = []
    for name, search in ({} if tuned is None else tuned.searches).items():
        steps = [f"{step.other} over {step.base}: {step.speed.ratio:.2f} ({step.speed.low:.2f} to {step.speed.high:.2f})"
                 for step in search.steps]  # fmt: skip
        lines.append(f"{name} {search.count}: {'; '.join([*steps, search.end])}")
    return lines


def batch_line(batch: TunedBatch) -> str:
    """Return the batch size that fits, in words, and what speaks for it."""
    if batch.size == batch.own:
        return f"batch_size={batch.own} stays: {batch.end}"
    memory = "" if batch.memory is None else f", {size(batch.memory)} in an update"
    return (
        f"batch_size={batch.size} makes {batch.speed:.2f} times as many samples a second{memory}; {batch.end}. It changes the "
        "recipe, so it is yours to take: fewer updates, which want a higher learning rate"
    )


def _plain(value: Any) -> Any:
    """Return a value with lists in place of tuples."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
