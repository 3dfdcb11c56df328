"""Questions that a run answers by being tried out: it is afterwards what it was."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__: list[str] = []

PUBLIC_MODULES = ("advice", "diagnosis")
"""Public modules in here, imported when one is first asked for."""


def __getattr__(name: str) -> Any:
    """Return a public module. Raise AttributeError if there is none of that name."""
    if name in PUBLIC_MODULES:
        return import_module(f"accel.diagnose.{name}")
    raise AttributeError(f"module 'accel.diagnose' has no attribute {name!r}")
