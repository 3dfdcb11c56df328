"""Trials of remedies, one after the other, each beside those that were kept before it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from math import isclose
from typing import TypeVar

from accel.compare import NEGLIGIBLE, Limits, LossDifference, SpeedRatio, decide, interleave, loss_difference
from accel.diagnose.ablation.bench import Bench
from accel.diagnose.ablation.told_failures import told_failures
from accel.diagnose.ablation.trial_request import named_plugins
from accel.diagnose.decision.remedies import Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials.batch_tuning import TunedBatch, tune_batch
from accel.diagnose.trials.rank_table import LoneRank
from accel.diagnose.trials.reader_tuning import DEPTHS, TunedReaders, tune_readers
from accel.diagnose.trials.timed_arms import MakeTrainer, TimedArms, needs_process
from accel.diagnose.trials.tried_remedy import TriedRemedy, batch_line, tuning_lines
from accel.errors import ConfigError, TrainingError
from accel.report.comparison import MARGIN
from accel.system.stop_signals import StopSignals

__all__ = ["LIMITS", "SAME", "SEARCH", "SEEDS", "UPDATES", "RemedyTrials"]

Outcome = TypeVar("Outcome")
LIMITS = Limits(min_rounds=8, max_rounds=40, width=0.06, seconds=15.0)
"""Windows of one trial (`accel.compare.interleave`)."""
SEARCH = Limits(min_rounds=6, max_rounds=12, width=0.06, seconds=6.0, step=2, level=0.9)
"""Windows of one comparison of a search: what it finds is measured by a whole trial."""
SEEDS, UPDATES = 4, 40
"""Trainings of each way whose losses are compared, and their updates."""
SAME = 1e-4
"""Relative difference of two losses, by which a change of rounding alone may part them in `UPDATES` updates."""


class RemedyTrials:
    """Trials under way.

    Args:
        make: returns the function that makes the trainer with overrides.
        signals: signals that may end the process.
        ranks: of the run.
        limits: of each trial; None for `LIMITS`.
        report: is told how it goes.
    """

    def __init__(
        self, make: Callable[[Overrides], MakeTrainer], signals: StopSignals, ranks: LoneRank, limits: Limits | None,
        report: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.make, self.signals, self.ranks, self.limits, self.report = make, signals, ranks, limits or LIMITS, report
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
                    for line in [*tuning_lines(tuned), f"that is {' '.join(overrides.words)}"]:
                        self.report(f"    {line}")
                make = self.make(self.kept + overrides)
                apart = needs_process(make) or needs_process(self.arms.make_base)
                other, closing_other = self.arms.open(make, apart)
                cleanup.push(closing_other)
                base = self.arms.base(apart)
                speed = self.together_on_ranks(lambda: self.compare(base.window, other.window), cleanup)
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
        return interleave(base, other, self.limits, self.ranks.clock)

    def together_on_ranks(self, measure: Callable[[], Outcome], cleanup: ExitStack) -> Outcome:
        """Return what is measured on every rank.

        Where that fails on one, it gives up its runs before it says so: the others wait for them, and fail too.

        Raises:
            ConfigError: on every rank, if it fails on one; likewise a TrainingError of a lone process.
        """

        def measured() -> Outcome:
            try:
                with told_failures():
                    return measure()
            except BaseException:
                cleanup.close()
                self.arms.close()
                raise

        return self.ranks.together(measured)

    def tune(self, remedy: Remedy) -> TunedReaders:
        """Return the best readers of a remedy, found in a run that has them."""
        make = self.make(self.kept + remedy.change.overrides)
        arm, cleanup = self.arms.open(make, needs_process(make))

        with cleanup:
            return self.together_on_ranks(lambda: arm.call(tune_readers, remedy.change.name, SEARCH), cleanup)

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

            def measured() -> list[float]:
                with told_failures(), closing(Bench(request, self.signals, make, self.limits.seconds)) as bench:
                    return [bench.loss(names, UPDATES, request.settings.seed + seed) for seed in missing]

            losses = self.ranks.together(measured)
            for seed, loss in zip(missing, self.ranks.gather(losses)[0], strict=True):
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
                return self.together_on_ranks(lambda: self.compare(plain.window, kept.window), cleanup)
        except (ConfigError, TrainingError):
            return None

    def batch(self) -> tuple[TunedBatch | None, str]:
        """Return the batch size that fits, and why it was not found."""
        self.report("trying larger batches")
        try:
            arm = self.arms.base(needs_process(self.arms.make_base))
            batch = self.together_on_ranks(lambda: arm.call(tune_batch, SEARCH), ExitStack())
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
