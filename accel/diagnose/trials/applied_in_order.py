"""Remedies tried out: each is tuned, measured against the run without it, and kept if it is faster and as good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import inf

from accel.compare import Limits
from accel.diagnose.ablation.trial_request import named_plugins
from accel.diagnose.decision.remedies import Possible, Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials.rank_table import LoneRank, meet_ranks
from accel.diagnose.trials.remedy_trials import RemedyTrials
from accel.diagnose.trials.timed_arms import MakeTrainer
from accel.diagnose.trials.tried_remedy import AppliedRemedies, Untried
from accel.errors import ConfigError
from accel.system.call_stack import warnings_of_run
from accel.system.stop_signals import StopSignals

__all__ = ["UNSEEN", "apply_remedies", "obstacle", "of_first_rank"]

UNSEEN = {
    "evaluate_less": "updates are what is timed, and how often the run is evaluated is yours to choose",
    "checkpoint_less": "updates are what is timed, and how often the run is saved is yours to choose",
}
"""Remedies of what is no update, and why they are not tried."""


def obstacle(remedy: Remedy) -> str:
    """Return why a remedy is not tried, in words; empty if it is."""
    change = remedy.change
    if not change.overrides:
        return "no override does it"
    return "it changes the recipe" if change.changes == "recipe" else UNSEEN.get(change.name, "")


def apply_remedies(
    remedies: Sequence[Remedy],
    make: Callable[[Overrides], MakeTrainer],
    report: Callable[[str], None] = lambda line: None,
    limits: Limits | None = None,
) -> AppliedRemedies:
    """Try remedies in their order, each beside those that were kept before it; return what came of each.

    Windows of the run without it and of the run with it take turns. One that is faster beyond the noise is kept, unless its loss
    is worse than the noise between seeds. Readers are tuned first. At the end the batch size that fits is looked for, if a larger
    batch is among the remedies; it is not kept, for it changes the recipe. With several ranks each of them calls it.

    Args:
        remedies: the most promising first.
        make: returns the function that makes the trainer with overrides.
        report: is told how it goes.
        limits: of each trial; None for the usual ones.

    Raises:
        ConfigError: if the run itself cannot work.
        Interrupted: if SIGTERM or SIGINT came.
    """
    try:
        ranks = meet_ranks(named_plugins(make(Overrides())()._request()).values())
    except ConfigError as error:
        return AppliedRemedies(untried=tuple(Untried(one.change.typed, obstacle(one) or str(error)) for one in remedies))
    remedies = of_first_rank(remedies, ranks)
    chosen = [remedy for remedy in remedies if not obstacle(remedy)]
    rest = [(one.change.typed, obstacle(one)) for one in remedies if one.change.name != "larger_batch"]
    untried = [Untried(typed, reason) for typed, reason in rest if reason]
    with ExitStack() as cleanup:
        signals = cleanup.enter_context(StopSignals(at_once=True))
        cleanup.enter_context(warnings_of_run())
        trials = RemedyTrials(make, signals, ranks, limits, report)
        cleanup.callback(trials.close)
        for remedy in chosen:
            if not trials.covers(remedy):
                trials.try_out(remedy)
        together = trials.together()
        batch, failure = trials.batch() if any(one.change.name == "larger_batch" for one in remedies) else (None, "")
    return AppliedRemedies(tuple(trials.tried), tuple(untried), together, batch, failure)


def of_first_rank(remedies: Sequence[Remedy], ranks: LoneRank) -> list[Remedy]:
    """Return the remedies that the first rank has, in its order: those of another may differ by the noise of its figures.

    Every rank must call it. Those of another rank than the first come without predictions.
    """
    rows = ranks.gather([
        (one.change.name, one.change.typed, one.change.changes, one.change.overrides.plugins, one.change.overrides.settings)
        for one in remedies
    ])[0]  # fmt: skip
    if ranks.rank == 0:
        return list(remedies)
    return [
        Remedy(
            Possible(name, typed, (), changes, overrides=Overrides(tuple(plugins), tuple((key, value) for key, value in settings))),
            None, inf,
        )
        for name, typed, changes, plugins, settings in rows
    ]  # fmt: skip
