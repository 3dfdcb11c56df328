"""What optimiser plugins are made of; and LAMB, LARS, Muon and ScheduleFree as plain torch optimisers, for loops of one's own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.optim.lamb import LAMB as LAMB
    from accel.optim.lars import LARS as LARS
    from accel.optim.muon import Muon as Muon
    from accel.optim.schedule_free import ScheduleFree as ScheduleFree

__all__ = ["LAMB", "LARS", "Muon", "ScheduleFree"]

FILES = {"ScheduleFree": "schedule_free"}
"""The files of those that are not called after their class in small letters."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"accel.optim.{FILES.get(name, name.lower())}"), name)
    raise AttributeError(f"module 'accel.optim' has no optimiser {name!r}")
