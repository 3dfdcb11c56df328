"""Remedies tried out: each is measured against the run without it, and kept if it is faster and as good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from math import isclose
from typing import Any

from accel.compare import Limits, LossDifference, SpeedRatio, decide, interleave, loss_difference
from accel.diagnose.ablation.arm_process import ArmProcess
from accel.diagnose.ablation.bench import Bench
from accel.diagnose.ablation.trial_request import named_plugins
from accel.diagnose.decision.remedies import Remedy
from accel.diagnose.doctor import untouched
from accel.errors import ConfigError, TrainingError
from accel.report.comparison import MARGIN
from accel.system.call_stack import warnings_of_run
from accel.system.stop_signals import StopSignals

__all__ = ["LIMITS", "SAME", "SEEDS", "UPDATES", "MakeTrainer", "TriedRemedy", "apply_remedies", "is_tried"]

MakeTrainer = Callable[[Sequence[str]], Callable[[], Any]]
"""Function from overrides to the function that makes their trainer, in any process. Raises ConfigError if they cannot work."""
LIMITS = Limits(min_rounds=8, max_rounds=40, width=0.06, seconds=15.0)
"""Windows of one trial (`accel.compare.interleave`)."""
SEEDS, UPDATES = 4, 40
"""Trainings of each way whose losses are compared, and their updates."""
SAME = 1e-4
"""Relative difference of two losses, by which a change of rounding alone may part them in `UPDATES` updates."""


@dataclass(frozen=True)
class TriedRemedy:
    """Remedy with what came of it.

    Args:
        remedy: the remedy, with its prediction.
        speed: how many times faster the run was with it, beside those kept before; None if it could not be measured.
        loss: its losses beside those without it; None if they are the same.
        is_kept: whether it is faster beyond the noise, and the loss no worse.
        reason: why it was not measured; empty if it was.
    """

    remedy: Remedy
    speed: SpeedRatio | None = None
    loss: LossDifference | None = None
    is_kept: bool = False
    reason: str = ""
    words: tuple[str, ...] = field(default=())


def is_tried(remedy: Remedy) -> bool:
    """Return whether a remedy can be tried: by overrides, with the same recipe."""
    return bool(remedy.change.words) and remedy.change.changes != "recipe"


def apply_remedies(
    remedies: Sequence[Remedy], make: MakeTrainer, report: Callable[[str], None], limits: Limits | None = None
) -> list[TriedRemedy]:  # fmt: skip
    """Try remedies in their order, each beside those that were kept before it; return what came of each.

    The run without it and the run with it are two processes, whose windows take turns. One that is faster beyond the noise is
    kept, unless its loss is worse than the noise between seeds.

    Args:
        remedies: what `is_tried` holds for, the most promising first.
        make: makes trainers.
        report: is told how it goes.
        limits: of each trial; None for `LIMITS`.

    Raises:
        ConfigError: if the run itself cannot work.
    """
    kept: tuple[str, ...] = ()
    tried: list[TriedRemedy] = []
    with ExitStack() as cleanup:
        base = cleanup.enter_context(arm(make(())))
        for remedy in remedies:
            report(f"trying {remedy.change.typed}")
            outcome = try_remedy(remedy, kept, base, make, limits or LIMITS)
            tried.append(outcome)
            report(f"    {describe(outcome)}")
            if outcome.is_kept:
                kept += remedy.change.words
                cleanup.close()
                base = cleanup.enter_context(arm(make(kept)))
    return tried


def try_remedy(
    remedy: Remedy, kept: tuple[str, ...], base: ArmProcess, make: MakeTrainer, limits: Limits
) -> TriedRemedy:  # fmt: skip
    """Return what came of one remedy beside those that are kept."""
    words = kept + remedy.change.words
    try:
        with arm(make(words)) as other:
            speed = interleave(base.window, other.window, limits)
        loss = loss_beside(make(kept), make(words)) if speed.low > 1 + MARGIN else None
    except (ConfigError, TrainingError) as error:
        return TriedRemedy(remedy, reason=str(error), words=remedy.change.words)
    return TriedRemedy(remedy, speed, loss, decide(speed, loss, MARGIN) == "keep", words=remedy.change.words)


@contextmanager
def arm(make_trainer: Callable[[], Any]) -> Iterator[ArmProcess]:
    """Give a run in a process of its own, ready to be timed."""
    names = frozenset(named_plugins(make_trainer()._request()))
    with closing(ArmProcess(make_trainer, names)) as process:
        process.calibrate()
        yield process


def loss_beside(make_base: Callable[[], Any], make_other: Callable[[], Any]) -> LossDifference | None:
    """Return the loss of the other way of training less that of the base; None if one seed shows that they are the same."""
    first = [losses(make, 1)[0] for make in (make_base, make_other)]
    if isclose(*first, rel_tol=SAME):
        return None
    return loss_difference(losses(make_base, SEEDS), losses(make_other, SEEDS))


def losses(make_trainer: Callable[[], Any], seeds: int) -> list[float]:
    """Return the losses of short trainings, by seed."""
    trainer = make_trainer()
    request = trainer._request()
    with ExitStack() as cleanup:
        cleanup.enter_context(untouched(None))
        signals = cleanup.enter_context(StopSignals(at_once=True))
        cleanup.enter_context(warnings_of_run())
        bench = cleanup.enter_context(closing(Bench(request, signals, make_trainer, LIMITS.seconds)))
        return bench.losses(frozenset(named_plugins(request)), UPDATES, seeds)


def describe(outcome: TriedRemedy) -> str:
    """Return what came of a remedy, in words."""
    if outcome.speed is None:
        return f"left out: {outcome.reason}"
    speed = outcome.speed
    predicted = outcome.remedy.of_updates
    expected = "" if predicted is None else f", {predicted.middle:.2f} predicted"
    loss = "" if outcome.loss is None else f"; loss {outcome.loss.difference:+.3g} (noise {outcome.loss.noise:.2g})"
    word = "kept" if outcome.is_kept else "left out"
    return f"{word}: {speed.ratio:.2f} times as fast ({speed.low:.2f} to {speed.high:.2f}{expected}){loss}"
