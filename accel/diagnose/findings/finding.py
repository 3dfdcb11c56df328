"""Something in a model that makes it slow: where, by which numbers, what is to be gained, and what to change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from accel.diagnose.layer_trials.product_trial import ProductTrial
from accel.diagnose.layers.layer_table import LayerTable

__all__ = ["Finding", "Rule", "listed"]


@dataclass(frozen=True)
class Finding:
    """Finding about a model.

    Args:
        name: of the rule, which does not change.
        problem: what it is, in words.
        evidence: the numbers.
        layers: paths of the layers that it is about, those that take most time first; empty for the whole model.
        gain: share of the time of a pass that the change saves, from 0 to 1; None if the measurements do not foretell it.
        ceiling: share that it saves at most, where no more is known.
        change: the override to type, or the line to write.
        gain_note: what else is gained, or where; why nothing is foretold.
        trials: of products, which tell the gain once they are made (`tried_findings`).
    """

    name: str
    problem: str
    evidence: str
    layers: tuple[str, ...] = ()
    gain: float | None = None
    ceiling: float | None = None
    change: str = ""
    gain_note: str = ""
    trials: tuple[ProductTrial, ...] = ()


Rule = Callable[[LayerTable], Iterator[Finding]]
"""Function from a table of layers to what it finds there."""


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return some names in words, those beyond `most` as a number.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    every: Sequence[str] = list(names)
    shown = ", ".join(name or "(model)" for name in every[:most])
    return shown if len(every) <= most else f"{shown} and {len(every) - most} more"
