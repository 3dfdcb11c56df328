"""Packed stores: a whole data set in one file, LMDB or raw, and how such files are made."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = []

PUBLIC_MODULES = ("formats",)
"""Public modules in here, imported when one is first asked for."""


def __getattr__(name: str) -> Any:
    """Return a public module. Raise AttributeError if there is none of that name."""
    if name in PUBLIC_MODULES:
        return import_module(f"accel.data.stores.{name}")
    raise AttributeError(f"module 'accel.data.stores' has no attribute {name!r}")
