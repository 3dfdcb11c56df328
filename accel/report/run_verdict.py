"""The verdict on a run in one sentence: what takes most of its time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Verdict", "verdict"]

KINDS = {
    "data": ("data-bound", "the model waits {share} of the time for its data"),
    "transfer": ("transfer-bound", "copying batches to the device takes {share} of the time"),
    "overhead": ("host-bound", "{share} of the time goes to Python, and to launching small operations"),
    "compute": ("compute-bound", "forward and backward pass take {share} of the time, and grow with the batch"),
    "threads": ("thread-bound", "threads that are in each other's way take {share} of the time"),
    "update": ("optimiser-bound", "moving the weights takes {share} of the time"),
    "communication": ("communication-bound", "gradients between the ranks take {share} of the time"),
    "straggler": ("straggler-bound", "the ranks wait {share} of the time for the slowest"),
    "evaluation": ("evaluation-bound", "evaluations take {share} of the time"),
    "checkpoint": ("checkpoint-bound", "checkpoints take {share} of the time"),
    "memory": ("memory-bound", "the machine moves pages to and from its swap, {share} of the time at the most"),
    "watches": ("watch-bound", "watches take {share} of the time"),
}
"""Names of verdicts: the word for each, and a sentence with a place for its share."""


@dataclass(frozen=True)
class Verdict:
    """What takes most of a run's time.

    Args:
        part: its name, one of `KINDS`.
        share: of the time, from 0 to 1.
        details: clauses on the cause, as far as it is known.
    """

    part: str
    share: float
    details: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The word for it, such as `data-bound`."""
        return KINDS[self.part][0]

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        word, text = KINDS[self.part]
        return "; ".join([f"{word}: {text.format(share=f'{100 * self.share:.0f} %')}", *self.details])


def verdict(seconds: dict[str, float], details: dict[str, tuple[str, ...]] | None = None) -> Verdict:
    """Return the verdict on parts of a time: the largest is named.

    Args:
        seconds: of each part, by the names of `KINDS`; one at least is above 0.
        details: clauses on the cause, by part.

    >>> verdict({"data": 3.0, "compute": 1.0}).sentence
    'data-bound: the model waits 75 % of the time for its data'
    """
    part = max(seconds, key=lambda name: seconds[name])
    return Verdict(part, seconds[part] / (sum(seconds.values()) or 1.0), (details or {}).get(part, ()))
