"""Imports that leave the random numbers of the caller as they are."""

from __future__ import annotations

import random
from importlib import import_module
from types import ModuleType

__all__ = ["import_untouched"]


def import_untouched(name: str) -> ModuleType:
    """Import a module by its dotted name, and put Python's random numbers back: rich draws one when it is imported.

    Raises:
        ImportError: if there is no such module.
    """
    state = random.getstate()
    try:
        return import_module(name)
    finally:
        random.setstate(state)
