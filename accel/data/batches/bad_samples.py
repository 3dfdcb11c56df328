"""What becomes of samples that cannot be read, and which they were.

Under `raise` the first of them ends the run. `skip` leaves it out: its batch is smaller by one. `substitute` puts another sample in
its place, drawn by (seed, epoch, index) and read as it is itself in this epoch, with its own augmentation: it is there twice
then. All of it is a function of (seed, epoch, index), so a batch is the same whoever reads it, and after a resume.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, NamedTuple

from accel.data.sampling import sample_rng
from accel.errors import BadSample, ConfigError, TrainingError

__all__ = [
    "MACHINE",
    "MISSING",
    "RAISE",
    "SHOWN",
    "TRIES",
    "BadSampleHandler",
    "BadSampleLog",
    "BadSamplePolicy",
    "BadSampleRule",
    "Missing",
    "UnreadableSample",
    "failure_reason",
    "is_sample_fault",
]

BadSamplePolicy = Literal["raise", "skip", "substitute"]
TRIES = 16
"""So many samples are tried in place of one; with a hundredth of them bad, none is good once in 10^32 times."""
SHOWN = 5
"""So many are named in a message or a table."""
MACHINE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
"""What is no fault of a sample: another time it might be read."""


class Missing(Enum):
    """In place of a sample or a batch that is left out; one object, in every process."""

    MISSING = "gone"


MISSING = Missing.MISSING


class UnreadableSample(NamedTuple):
    """A sample that could not be read."""

    sample: int
    reason: str


@dataclass(frozen=True)
class BadSampleRule:
    """What to do about them.

    Args:
        policy: raise, skip or substitute.
        limit: the largest share of a data set that may be bad; above it the run ends.
        what: what the data set is called in messages.
        refill: whether under skip a batch of which nothing is left consists of substitutes, so that every epoch has all of its
            batches; else there is no such batch.
        hint: under raise, is added to the sentence of a BadSample.
    """

    policy: BadSamplePolicy = "raise"
    limit: float = 0.01
    what: str = "data"
    refill: bool = True
    hint: str = ""

    def of(self, what: str, train: bool) -> BadSampleRule:
        """For one data set. Evaluation counts no sample twice: it leaves bad ones out, whatever the policy for training."""
        if train or self.policy == "raise":
            return replace(self, what=what)
        return replace(self, what=what, policy="skip", refill=False)


RAISE = BadSampleRule()
"""The first bad sample ends the run."""


class BadSampleLog:
    """The bad samples of one data set, by number. Noting one again changes nothing: it is read in every epoch, and after a resume.

    Args:
        rule: its limit and name are held to.
        samples: how many there are in all.
    """

    def __init__(self, rule: BadSampleRule, samples: int) -> None:
        self.rule, self.samples = rule, samples
        self.reasons: dict[int, str] = {}

    def note(self, bad: Sequence[UnreadableSample]) -> None:
        """Writes them down.

        Raises:
            TrainingError: where they are more than the limit allows.
        """
        if not bad:
            return
        self.reasons |= {sample: self.reasons.get(sample, why) for sample, why in bad}
        if len(self.reasons) > self.rule.limit * self.samples:
            raise TrainingError(
                f"{len(self.reasons):,} of {self.samples:,} {self.rule.what} samples cannot be read, which is above "
                f"bad_limit={self.rule.limit:g}: {self.examples()}; mend them, take them away, or raise bad_limit"
            )

    def examples(self) -> str:
        """The first few in words."""
        texts = [f"sample {sample}: {why}" for sample, why in list(self.reasons.items())[:SHOWN]]
        return " | ".join(texts) + " | ..." * (len(self.reasons) > SHOWN)


class BadSampleHandler:
    """The rule, applied to the samples of one data set. It keeps nothing, so any thread may ask it.

    Args:
        rule: what to do.
        seed: of the run.
        samples: how many there are in all.
    """

    def __init__(self, rule: BadSampleRule, seed: int, samples: int) -> None:
        self.rule, self.seed, self.samples = rule, seed, samples

    def handle(self, error: Exception, epoch: int, key: int, read: Callable[[int], Any], bad: list[UnreadableSample]) -> Any:
        """What stands for sample `key`, whose reading raised `error`: another sample, or GONE.

        Args:
            read: reads the sample of that number.
            bad: each sample that cannot be read is added.

        Raises:
            Exception: the error itself, under `raise`, and where it is no fault of the sample (`of_data`).
            TrainingError: where nothing can be read in its place either.
        """
        if self.rule.policy == "raise" and isinstance(error, BadSample):
            raise BadSample(f"{error}{self.rule.hint}") from error
        if self.rule.policy == "raise" or not is_sample_fault(error):
            raise error
        bad.append(UnreadableSample(key, failure_reason(error)))
        return MISSING if self.rule.policy == "skip" else self.substitute(epoch, key, read, bad)

    def substitute(self, epoch: int, key: int, read: Callable[[int], Any], bad: list[UnreadableSample]) -> Any:
        """The first sample, of those drawn in place of `key`, that can be read."""
        for other in self.candidates(epoch, key):
            try:
                return read(other)
            except Exception as error:
                if not is_sample_fault(error):
                    raise
                bad.append(UnreadableSample(other, failure_reason(error)))
        raise self.none_left(key, bad)

    def candidates(self, epoch: int, key: int) -> list[int]:
        """The samples to be tried in place of `key`, in order: a function of (seed, epoch, key)."""
        found: list[int] = sample_rng(self.seed, epoch, key + 2**62).integers(self.samples, size=TRIES).tolist()
        return found

    def none_left(self, key: int, bad: Sequence[UnreadableSample]) -> TrainingError:
        """The sentence for a sample that nothing can stand for."""
        last = f" ({bad[-1].reason})" if bad else ""
        what = self.rule.what
        return TrainingError(f"{what} sample {key} cannot be read, nor any of {TRIES} drawn in its place{last}; mend the data")

    def all_gone(self, keys: Sequence[int]) -> TrainingError:
        """The sentence for a batch of which nothing is left, where several ranks must have as many batches each."""
        which = ", ".join(map(str, keys[:SHOWN]))
        return TrainingError(
            f"of a batch of the {self.rule.what} data no sample can be read ({which}), and several ranks need as many batches "
            "each; mend the data, or take these samples away"
        )


def is_sample_fault(error: Exception) -> bool:
    """Whether it is the sample's fault, and not the set-up's (ConfigError but BadSample) or the machine's."""
    if isinstance(error, OSError):
        return error.errno not in MACHINE
    return isinstance(error, BadSample) or not isinstance(error, ConfigError | TrainingError | MemoryError)


def failure_reason(error: Exception) -> str:
    """An error in one line, without what to do about it."""
    text = " ".join(str(error).split())
    return text.partition("; ")[0] if isinstance(error, BadSample) else f"{type(error).__name__}: {text}"[:200]
