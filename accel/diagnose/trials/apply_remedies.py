"""Remedies tried out: each is tuned, measured against the run without it, and kept if it is faster and as good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from math import isclose

from accel.compare import NEGLIGIBLE, Limits, LossDifference, SpeedRatio, decide, interleave, loss_difference
from accel.diagnose.ablation.bench import Bench
from accel.diagnose.ablation.told_failures import told_failures
from accel.diagnose.ablation.trial_request import named_plugins
from accel.diagnose.decision.overrides import Overrides
from accel.diagnose.decision.remedies import Remedy
from accel.diagnose.trials.batch_tuning import TunedBatch, tune_batch
from accel.diagnose.trials.rank_table import LoneRank, meet_ranks
from accel.diagnose.trials.reader_tuning import DEPTHS, TunedReaders, tune_readers
from accel.diagnose.trials.timed_arms import MakeTrainer, TimedArms, needs_process
from accel.diagnose.trials.tried_remedy import AppliedRemedies, TriedRemedy, Untried, batch_line, tuning_lines
from accel.errors import ConfigError, TrainingError
from accel.report.comparison import MARGIN
from accel.system.call_stack import warnings_of_run
from accel.system.stop_signals import StopSignals

__all__ = ["LIMITS", "SAME", "SEARCH", "SEEDS", "UPDATES", "Trials", "apply_remedies", "obstacle"]

LIMITS = Limits(min_rounds=8, max_rounds=40, width=0.06, seconds=15.0)
"""Windows of one trial (`accel.compare.interleave`)."""
SEARCH = Limits(min_rounds=8, max_rounds=16, width=0.06, seconds=6.0)
"""Windows of one comparison of a search."""
SEEDS, UPDATES = 4, 40
"""Trainings of each way whose losses are compared, and their updates."""
SAME = 1e-4
"""Relative difference of two losses, by which a change of rounding alone may part them in `UPDATES` updates."""
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
        limits: of each trial; None for `LIMITS`.

    Raises:
        ConfigError: if the run itself cannot work.
        Interrupted: if SIGTERM or SIGINT came.
    """
    chosen = [remedy for remedy in remedies if not obstacle(remedy)]
    rest = [(one.change.typed, obstacle(one)) for one in remedies if one.change.name != "larger_batch"]
    untried = [Untried(typed, reason) for typed, reason in rest if reason]
    try:
        ranks = meet_ranks(named_plugins(make(Overrides())()._request()).values())
    except ConfigError as error:
        return AppliedRemedies(untried=(*(Untried(one.change.typed, str(error)) for one in chosen), *untried))
    with ExitStack() as cleanup:
        signals = cleanup.enter_context(StopSignals(at_once=True))
        cleanup.enter_context(warnings_of_run())
        trials = Trials(make, signals, ranks, limits or LIMITS, report)
        cleanup.callback(trials.close)
        for remedy in chosen:
            if not trials.covers(remedy):
                trials.try_out(remedy)
        together = trials.together()
        batch, failure = trials.batch() if any(one.change.name == "larger_batch" for one in remedies) else (None, "")
    return AppliedRemedies(tuple(trials.tried), tuple(untried), together, batch, failure)


class Trials:
    """Trials under way.

    Args:
        make: returns the function that makes the trainer with overrides.
        signals: signals that may end the process.
        ranks: of the run.
        limits: of each trial.
        report: is told how it goes.
    """

    def __init__(
        self, make: Callable[[Overrides], MakeTrainer], signals: StopSignals, ranks: LoneRank, limits: Limits,
        report: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.make, self.signals, self.ranks, self.limits, self.report = make, signals, ranks, limits, report
        self.kept, self.tried = Overrides(), list[TriedRemedy]()
        self.arms = TimedArms(make(self.kept), signals, ranks)
        self.known_losses: dict[tuple[tuple[str, ...], int], float] = {}
        """Losses by overrides and number of the seed."""

    def close(self) -> None:
        """Give up the runs that are held."""
        self.arms.close()

    def covers(self, remedy: Remedy) -> bool:
        """Return whether the remedy is one number of readers of several, which were tuned before."""
        name = remedy.change.name
        return name in DEPTHS and any(one.remedy.change.name == name for one in self.tried)

    def try_out(self, remedy: Remedy) -> None:
        """Try one remedy beside those that are kept, and keep it if it is faster and no worse."""
        self.report(f"trying {' '.join(remedy.change.words)}")
        overrides, tuned, cleanup = remedy.change.overrides, None, ExitStack()
        try:
            with cleanup:
                if remedy.change.name in DEPTHS:
                    tuned = self.tune(remedy)
                    overrides = _tuned_overrides(remedy, tuned, self.needs_backend())
                    for line in tuning_lines(tuned):
                        self.report(f"    {line}")
                make = self.make(self.kept + overrides)
                apart = needs_process(make) or needs_process(self.arms.make_base)
                other, closing_other = self.arms.open(make, apart)
                cleanup.push(closing_other)
                base = self.arms.base(apart)
                speed = self.ranks.together(lambda: self.compare(base.window, other.window))
                margin = MARGIN if apart else NEGLIGIBLE
                loss = self.loss_beside(self.kept + overrides) if speed.low > 1 + margin else None
                outcome = TriedRemedy(remedy, overrides, speed, loss, decide(speed, loss, margin) == "keep", tuned=tuned)
                if outcome.is_kept:
                    self.kept += overrides
                    self.arms.replace(make, other, cleanup.pop_all())
        except (ConfigError, TrainingError) as error:
            outcome = TriedRemedy(remedy, overrides, reason=str(error), tuned=tuned)
        self.tried.append(outcome)
        self.report(f"    {outcome.sentence}")

    def compare(self, base: Callable[[], float], other: Callable[[], float]) -> SpeedRatio:
        """Return how many times faster the second of two runs is."""
        with told_failures():
            return interleave(base, other, self.limits, self.ranks.clock)

    def tune(self, remedy: Remedy) -> TunedReaders:
        """Return the best readers of a remedy, found in a run that has them."""
        make = self.make(self.kept + remedy.change.overrides)
        arm, cleanup = self.arms.open(make, needs_process(make))

        def tuned() -> TunedReaders:
            with told_failures():
                return arm.call(tune_readers, remedy.change.name, SEARCH)

        with cleanup:
            return self.ranks.together(tuned)

    def needs_backend(self) -> bool:
        """Return whether the plugin `backend` is not on yet."""
        return "backend" not in named_plugins(self.arms.make_base()._request())

    def loss_beside(self, overrides: Overrides) -> LossDifference | None:
        """Return the loss with overrides less that with those kept; None if one seed shows that they are the same."""
        first = [self.losses(each, 1)[0] for each in (self.kept, overrides)]
        if isclose(*first, rel_tol=SAME):
            return None
        return loss_difference(self.losses(self.kept, SEEDS), self.losses(overrides, SEEDS))

    def losses(self, overrides: Overrides, seeds: int) -> list[float]:
        """Return the losses of short trainings, by seed; those of the first rank."""
        missing = [seed for seed in range(seeds) if (overrides.words, seed) not in self.known_losses]
        if missing:
            make = self.make(overrides)
            trainer = make()
            request = trainer._request()
            names = frozenset(named_plugins(request))
            with told_failures(), closing(Bench(request, self.signals, make, self.limits.seconds)) as bench:
                found = [bench.loss(names, UPDATES, request.settings.seed + seed) for seed in missing]
            for seed, loss in zip(missing, self.ranks.gather(found)[0], strict=True):
                self.known_losses[overrides.words, seed] = loss
        return [self.known_losses[overrides.words, seed] for seed in range(seeds)]

    def together(self) -> SpeedRatio | None:
        """Return how many times faster the run is with all that was kept; None if that is less than two, or it failed."""
        if sum(one.is_kept for one in self.tried) < 2:
            return None
        self.report("trying all that is kept beside the run without any")
        make = self.make(Overrides())
        try:
            apart = needs_process(make) or needs_process(self.arms.make_base)
            plain, cleanup = self.arms.open(make, apart)
            with cleanup:
                kept = self.arms.base(apart)
                return self.ranks.together(lambda: self.compare(plain.window, kept.window))
        except (ConfigError, TrainingError):
            return None

    def batch(self) -> tuple[TunedBatch | None, str]:
        """Return the batch size that fits, and why it was not found."""
        self.report("trying larger batches")
        arm = self.arms.base(needs_process(self.arms.make_base))

        def tuned() -> TunedBatch:
            with told_failures():
                return arm.call(tune_batch, SEARCH)

        try:
            batch = self.ranks.together(tuned)
        except (ConfigError, TrainingError) as error:
            return None, str(error)
        self.report(f"    {batch_line(batch)}")
        return batch, ""


def _tuned_overrides(remedy: Remedy, tuned: TunedReaders, needs_backend: bool) -> Overrides:
    """Return the overrides of a remedy with the settings that were found."""
    settings = {**dict(remedy.change.overrides.settings), **dict(tuned.settings)}
    plugins = remedy.change.overrides.plugins
    if "plugins.backend.threads" in settings and needs_backend:
        plugins = (*plugins, "backend")
    return replace(remedy.change.overrides, plugins=plugins, settings=tuple(settings.items()))
