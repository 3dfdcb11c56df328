"""This machine: files, clock, faults, signals, processes. It needs no torch (`rendezvous` alone uses torch's store)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = []

PUBLIC_MODULES = ("faults", "machine")
"""Public modules in here, imported when one is first asked for."""


def __getattr__(name: str) -> Any:
    """Return a public module. Raise AttributeError if there is none of that name."""
    if name in PUBLIC_MODULES:
        return import_module(f"accel.system.{name}")
    raise AttributeError(f"module 'accel.system' has no attribute {name!r}")
