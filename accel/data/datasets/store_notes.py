"""Notes of a store for the plan: what was passed over, and what its classes lack."""

from __future__ import annotations

from typing import Any

import numpy as np

from accel.data.picture_names import PassedOver
from accel.errors import listed

__all__ = ["CLASSES", "MAX_NAMES", "PASSED_OVER", "store_notes"]

PASSED_OVER, CLASSES = "passed over", "classes"
"""Names of the notes."""
MAX_NAMES = 3
"""Classes that a note names, at most."""


def store_notes(store: Any, classes: list[str]) -> dict[str, str]:
    """Return notes on the files that are no samples, classes without a picture, and classes that are one folder.

    Args:
        store: any store; only those of accel tell.
        classes: names of the data set's classes.
    """
    passed_over: PassedOver | None = getattr(store, "passed_over", None)
    notes = {PASSED_OVER: passed_over.describe()} if passed_over is not None and passed_over.counts else {}
    sentences = [f"{' and '.join(names)} are one folder" for names in getattr(store, "same_folders", [])]
    labels = getattr(store, "labels", None)
    if isinstance(labels, np.ndarray) and len(labels) and labels.min() >= 0 and labels.max() < len(classes):
        counts = np.bincount(labels, minlength=len(classes))
        empty = np.flatnonzero(counts == 0).tolist()
        if empty:
            names = listed((classes[number] for number in empty), MAX_NAMES)
            sentences.append(f"{len(empty):,} of {len(classes):,} have no picture here ({names})")
    return notes | ({CLASSES: "; ".join(sentences)} if sentences else {})
