"""LAMB, LARS, Muon and ScheduleFree as plain torch optimisers, for any loop; and the fused kernels of all optimiser plugins."""

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
"""The module of each optimiser whose module is not named after the class in small letters."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"accel.optim.{FILES.get(name, name.lower())}"), name)
    raise AttributeError(f"module 'accel.optim' has no optimiser {name!r}")
