"""Bad samples: the rule for samples that cannot be read, and a log of them.

Under `raise` the first of them ends the run. `skip` leaves it out: its batch is smaller by one. `substitute` puts another sample in
its place, drawn by (seed, epoch, index) and read with its own augmentation of this epoch: the epoch has it twice then. All of it
is a function of (seed, epoch, index), so a batch is the same whoever reads it, and after a resume.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal, NamedTuple

from accel.data.sampling import sample_rng
from accel.errors import BadSample, ConfigError, TrainingError, listed

__all__ = [
    "MACHINE_ERRNOS",
    "MAX_CANDIDATES",
    "MAX_EXAMPLES",
    "MISSING",
    "RAISE",
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
MAX_CANDIDATES = 16
"""Samples that are tried in place of one. With a hundredth of them bad, none is good once in 10^32 times."""
MAX_EXAMPLES = 5
"""Samples that are named in a message or a table."""
MACHINE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
"""Errors that are no fault of a sample: another time it might be read."""


class Missing(Enum):
    """Marker in place of a sample or a batch that is left out; one object, in every process."""

    MISSING = "gone"


MISSING = Missing.MISSING


class UnreadableSample(NamedTuple):
    """Number of a sample that could not be read, and the reason."""

    sample: int
    reason: str


@dataclass(frozen=True)
class BadSampleRule:
    """Rule for the bad samples of one data set.

    Args:
        policy: raise, skip or substitute.
        limit: the largest share of a data set that may be bad; above it the run ends.
        dataset: the name of the data set in messages.
        refill: whether, under skip, a batch of which nothing is left consists of substitutes, so that every epoch has all of its
            batches; else there is no such batch.
        hint: under raise, is added to the sentence of a BadSample.
    """

    policy: BadSamplePolicy = "raise"
    limit: float = 0.01
    dataset: str = "data"
    refill: bool = True
    hint: str = ""

    def for_dataset(self, name: str, train: bool) -> BadSampleRule:
        """Return the rule for one data set. Evaluation counts no sample twice: it skips bad ones under every policy but raise."""
        if train or self.policy == "raise":
            return replace(self, dataset=name)
        return replace(self, dataset=name, policy="skip", refill=False)


RAISE = BadSampleRule()
"""The rule by which the first bad sample ends the run."""


class BadSampleLog:
    """Bad samples of one data set, with reasons. Adding one again changes nothing: it is read in every epoch, and after a resume.

    Args:
        rule: gives the limit and the data set's name.
        samples: of the data set in all.
    """

    def __init__(self, rule: BadSampleRule, samples: int) -> None:
        self.rule, self.samples = rule, samples
        self.reasons: dict[int, str] = {}

    def add(self, bad: Sequence[UnreadableSample]) -> None:
        """Add samples that could not be read.

        Raises:
            TrainingError: if there are more than the limit allows.
        """
        if not bad:
            return
        self.reasons |= {sample: self.reasons.get(sample, reason) for sample, reason in bad}
        if len(self.reasons) > self.rule.limit * self.samples:
            raise TrainingError(
                f"{len(self.reasons):,} of {self.samples:,} {self.rule.dataset} samples cannot be read, which is above "
                f"bad_limit={self.rule.limit:g}: {self.examples()}; mend them, take them away, or raise bad_limit"
            )

    def examples(self) -> str:
        """Return the first few in words."""
        return listed((f"sample {sample}: {reason}" for sample, reason in self.reasons.items()), MAX_EXAMPLES, " | ")


class BadSampleHandler:
    """Rule for bad samples, applied to one data set. It has no state, so any thread may call it.

    Args:
        rule: for the data set.
        seed: of the run.
        samples: of the data set in all.
    """

    def __init__(self, rule: BadSampleRule, seed: int, samples: int) -> None:
        self.rule, self.seed, self.samples = rule, seed, samples

    def handle(self, error: Exception, epoch: int, key: int, read: Callable[[int], Any], bad: list[UnreadableSample]) -> Any:
        """Return another sample, or MISSING, for sample `key`, whose reading raised `error`.

        Args:
            error: the error of reading it.
            epoch: from 0.
            key: its number.
            read: reads the sample of a number.
            bad: each sample that cannot be read is added to it.

        Raises:
            Exception: the error itself, under `raise`, and if it is no fault of the sample (`is_sample_fault`).
            TrainingError: if no sample in its place can be read either.
        """
        if self.rule.policy == "raise" and isinstance(error, BadSample):
            raise BadSample(f"{error}{self.rule.hint}") from error
        if isinstance(error, IndexError):
            error.add_note(f"raised over sample {key} of the {self.rule.dataset} data, whose len() is {self.samples:,}")
        if self.rule.policy == "raise" or not is_sample_fault(error):
            raise error
        bad.append(UnreadableSample(key, failure_reason(error)))
        return MISSING if self.rule.policy == "skip" else self.substitute(epoch, key, read, bad)

    def substitute(self, epoch: int, key: int, read: Callable[[int], Any], bad: list[UnreadableSample]) -> Any:
        """Return the first of the samples drawn in place of `key` that can be read.

        Raises:
            TrainingError: if none can.
        """
        for other in self.candidates(epoch, key):
            try:
                return read(other)
            except Exception as error:
                if not is_sample_fault(error):
                    raise
                bad.append(UnreadableSample(other, failure_reason(error)))
        raise self.no_substitute_error(key, bad)

    def candidates(self, epoch: int, key: int) -> list[int]:
        """Return the samples to try in place of `key`, in order: a function of (seed, epoch, key)."""
        candidates: list[int] = sample_rng(self.seed, epoch, key + 2**62).integers(self.samples, size=MAX_CANDIDATES).tolist()
        return candidates

    def no_substitute_error(self, key: int, bad: Sequence[UnreadableSample]) -> TrainingError:
        """Return the error for a sample in whose place no other can be read."""
        last = f" ({bad[-1].reason})" if bad else ""
        dataset = self.rule.dataset
        return TrainingError(
            f"{dataset} sample {key} cannot be read, nor any of {MAX_CANDIDATES} drawn in its place{last}; mend the data"
        )

    def empty_batch_error(self, keys: Sequence[int]) -> TrainingError:
        """Return the error for a batch of which nothing is left, where several ranks must have as many batches each."""
        numbers = listed(keys, MAX_EXAMPLES)
        return TrainingError(
            f"of a batch of the {self.rule.dataset} data no sample can be read ({numbers}), and several ranks need as many batches "
            "each; mend the data, or take these samples away"
        )


def is_sample_fault(error: Exception) -> bool:
    """Return whether an error is the sample's fault, and not the set-up's (ConfigError but BadSample) or the machine's."""
    if isinstance(error, OSError):
        return error.errno not in MACHINE_ERRNOS
    return isinstance(error, BadSample) or not isinstance(error, ConfigError | TrainingError | MemoryError)


def failure_reason(error: Exception) -> str:
    """Return an error in one line, without the advice it gives."""
    text = " ".join(str(error).split())
    return text.partition("; ")[0] if isinstance(error, BadSample) else f"{type(error).__name__}: {text}"[:200]
