"""Sensitivity of layers: what comes out of the model is off by how much if one layer alone has 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Run", "layer_errors"]

Run = Callable[[Sequence[str]], list[NDArray[Any]]]
"""Function from the layers that have 8 bits to the outputs on some samples."""


def layer_errors(run: Run, layers: Sequence[str]) -> dict[str, float]:
    """Return the error that each layer alone makes, by its name: the norm of the outputs' difference as a share of their norm.

    Source: the ratio of signal to noise of onnxruntime's `qdq_loss_debug`, as a share and not in decibels.

    Args:
        run: of the model; without layers it is the one in floats.
        layers: their names.
    """
    expected = run(())
    return {name: _error(expected, run((name,))) for name in layers}


def _error(expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]]) -> float:
    pairs = [(one.astype(np.float64), two.astype(np.float64)) for one, two in zip(expected, actual, strict=True)]
    pairs = [(one[np.isfinite(one)], two[np.isfinite(one)]) for one, two in pairs]  # a mask has infinities
    off = sum(float(((one - two) ** 2).sum()) for one, two in pairs)
    norm = sum(float((one**2).sum()) for one, _ in pairs)
    return float(np.sqrt(off / norm)) if norm else float(np.sqrt(off))
