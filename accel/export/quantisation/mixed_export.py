"""Attempts at an export of 8 bits: all layers, and where that does not hold, all but the worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from accel.export.proof.proof import Proof
from accel.export.quantisation.mixed_precision import fewest_floats

__all__ = ["Attempt", "mixed_export"]

Attempt = Callable[[Sequence[str], bool], Proof]
"""Function that makes an export in which some layers stay in floats, and proves it, with or without timing it."""


def mixed_export(attempt: Attempt, errors: Callable[[], dict[str, float]]) -> tuple[Proof, list[str]]:
    """Return the proof of the export with the fewest layers in floats that holds, which is made last, and these layers.

    Where none holds it is the proof of the one that was best.

    Args:
        attempt: makes an export.
        errors: returns the error of each layer, the largest first; empty where layers cannot be chosen.
    """
    first = attempt((), True)
    worst = [] if first.holds else list(errors())
    if len(worst) < 2:
        return first, []
    proofs = {0: first}

    def holds(count: int) -> bool:
        proofs[count] = attempt(worst[:count], False)
        return proofs[count].holds

    count = fewest_floats(holds, len(worst))
    if count == len(worst):
        best = min(proofs, key=lambda number: inf if proofs[number].drop is None else proofs[number].drop.amount)  # type: ignore[union-attr]
        return proofs[best], worst[:best]
    return attempt(worst[:count], True), worst[:count]
