"""The length of a run: in epochs, updates, samples, tokens or seconds. The first of them that is reached ends it."""

from __future__ import annotations

from math import ceil
from numbers import Integral
from typing import TYPE_CHECKING

from accel.errors import ConfigError
from accel.parts.run import UNLIMITED, Run
from accel.schema.settings import Settings

if TYPE_CHECKING:
    from accel.data.batches.base import Batches

__all__ = ["LIMITS", "RunLength", "tokens_per_sample", "updates_of_samples"]


LIMITS = ("epochs", "updates", "max_samples", "max_tokens", "max_seconds")
"""Settings that limit a run."""


class RunLength:
    """The limits of a run. The number of updates is counted before the first, so that schedules end where the run does.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: Settings) -> None:
        self.epochs, self.updates, self.max_seconds = settings.epochs, settings.updates, settings.max_seconds
        self.samples, self.tokens = settings.max_samples, settings.max_tokens
        self.given = {name: getattr(settings, name) for name in LIMITS}
        """The limits as they were set, by name."""
        self.last_update: int | None = None
        """The update that ends the run within an epoch, from 1; None if only the ends of epochs do."""
        self.seconds_before = 0.0
        """Seconds of training before this process."""

    def count(self, run: Run) -> None:
        """Set `run.updates` and `run.epochs`, once the data is open.

        Raises:
            ConfigError: for a length that needs to know how much data there is.
        """
        per_epoch = run.updates_per_epoch
        if self.tokens is not None:
            per_sample = tokens_per_sample(run.train)
            self.samples = min(-(-self.tokens // per_sample), self.samples or UNLIMITED)
        whole = self.epochs is None or self.epochs == int(self.epochs)
        if self.epochs is not None and not whole and per_epoch is None:
            raise ConfigError(
                f"epochs={self.epochs} needs the length of the data, and it has none; give it a __len__, or set updates"
            )
        limits = [] if self.updates is None else [self.updates]
        if self.samples is not None and (updates := updates_of_samples(self.samples, run, per_epoch)) is not None:
            limits.append(updates)
        if self.epochs is not None and per_epoch is not None:
            limits.append(ceil(self.epochs * per_epoch - 1e-9))
        run.updates = min(limits) if limits and (self.samples is None or per_epoch is not None) else None
        within_epochs = per_epoch is not None and self.epochs is not None and whole and run.updates == self.epochs * per_epoch
        self.last_update = None if within_epochs else run.updates
        if per_epoch is not None and run.updates is not None:
            run.epochs = -(-run.updates // per_epoch)
        else:
            run.epochs = UNLIMITED if self.epochs is None else ceil(self.epochs)

    def is_reached(self, run: Run) -> bool:
        """Return whether the run has made its last update. Every rank gets the same answer."""
        progress = run.progress
        if self.last_update is not None and progress.step >= self.last_update:
            return True
        return (self.samples is not None and progress.samples >= self.samples) or run.is_ending

    def seconds(self, run: Run) -> float:
        """Return the seconds of training so far, those of the processes before this one included."""
        return self.seconds_before + sum(run.clock.spent)

    def wants_end(self, run: Run) -> bool:
        """Return whether this rank wants the run to end after its last update: somebody said stop, or the time is over."""
        return self.end_reason(run) != ""

    def end_reason(self, run: Run) -> str:
        """Return why the run ended before its last update, in words; empty if it did not."""
        if reason := run.stop_reason or run.parts.stop.reason():
            return reason
        if self.max_seconds is not None and self.seconds(run) >= self.max_seconds:
            return f"max_seconds={self.max_seconds:g} have passed"
        return ""

    def plan_notes(self) -> dict[str, str]:
        """Return what the plan says about a length that is no number of epochs or updates."""
        notes = {}
        if self.tokens is not None:
            notes["max_tokens"] = f"{self.tokens:,}, which are {self.samples:,} samples"
        if self.max_seconds is not None:
            notes["ends"] = f"after {self.max_seconds:g} seconds of training at the latest; the schedule does not follow them"
        return notes


def tokens_per_sample(batches: Batches) -> int:
    """Return how many tokens a sample of the training data has. Raise ConfigError if the data does not say."""
    data = getattr(batches, "data", None)
    count = getattr(data, "tokens_per_sample", None)
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise ConfigError("max_tokens needs to know how many a sample has; give the data tokens_per_sample, or set max_samples")
    return int(count)


def updates_of_samples(samples: int, run: Run, per_epoch: int | None) -> int | None:
    """Return the update in which so many samples have been trained on, from 1; None where the data does not tell.

    Args:
        samples: of all epochs.
        run: the run, its data open.
        per_epoch: updates of an epoch.
    """
    of_epoch = run.train.samples
    if per_epoch is None or not of_epoch or not run.uses_batch_size or run.train.share.drop_last:
        return None
    epochs, rest = divmod(samples, of_epoch)
    of_update = run.batch_size * run.parts.group.size * run.parts.parallel.world_size
    return epochs * per_epoch + -(-rest // of_update)
