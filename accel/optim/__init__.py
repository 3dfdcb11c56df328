"""What optimiser plugins are made of; and LAMB and LARS as plain torch optimisers, for people who keep their own loop."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.optim.lamb import LAMB as LAMB
    from accel.optim.lars import LARS as LARS

__all__ = ["LAMB", "LARS"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"accel.optim.{name.lower()}"), name)
    raise AttributeError(f"module 'accel.optim' has no optimiser {name!r}")
