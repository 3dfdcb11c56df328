"""How far an export may differ from the torch model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accel.export.proof.proof import Allowance
from accel.export.quantisation.variant import Variant

if TYPE_CHECKING:
    from accel.export.proof.prove import ProofSettings
    from accel.export.target import Target

__all__ = ["ROUNDED", "allowance"]

ROUNDED = 0.05
"""Tolerance of a model that rounds to 8 bits itself: a sum that is off by its last digit may be rounded to the next level."""


def allowance(settings: ProofSettings, target: type[Target], variant: Variant, rounds: bool) -> Allowance:
    """Return what is right for an export.

    Args:
        settings: of the proof; what they name goes before all else.
        target: whose tolerance is taken.
        variant: the numbers of the files.
        rounds: whether the model itself rounds to 8 bits, as one of `qat` does. Its floats are held by the metric too.
    """
    exact = variant == "float32" and not rounds
    tolerance = max(target.tolerance_of(variant), ROUNDED if rounds else 0.0) if settings.tolerance is None else settings.tolerance
    agreement = (1.0 if exact else 0.0) if settings.agreement is None else settings.agreement
    return Allowance(tolerance, agreement, None if exact else settings.max_drop)
