"""The trained model of another run."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

__all__ = ["SavedModel"]


class SavedModel(NamedTuple):
    """Trained model of another run, on the CPU, in evaluation mode."""

    model: nn.Module
    title: str
    """Where it came from, in words."""
    check: Callable[[], None]
    """Compares what both tasks know of their data, once this run's is open. Raises ConfigError if they differ."""
