"""Ready-made tasks: each a `Trainer` with a model, real data and a loss, and no different from a user's own task."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = []

PUBLIC_MODULES = ("digits", "hf", "images", "text")
"""Public modules in here, imported when one is first asked for."""


def __getattr__(name: str) -> Any:
    """Return a public module. Raise AttributeError if there is none of that name."""
    if name in PUBLIC_MODULES:
        return import_module(f"accel.tasks.{name}")
    raise AttributeError(f"module 'accel.tasks' has no attribute {name!r}")
