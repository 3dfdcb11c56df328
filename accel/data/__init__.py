"""What the input pipeline is made of, for a training loop of one's own too: `from accel.data import DataLoaderX, Records, Ring`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.data.datasets.records import Records as Records
    from accel.data.loaders.read_ahead import DataLoaderX as DataLoaderX
    from accel.data.loaders.ring import Ring as Ring

__all__ = ["DataLoaderX", "Records", "Ring"]

HOMES = {"DataLoaderX": "loaders.read_ahead", "Records": "datasets.records", "Ring": "loaders.ring"}
"""The module of each name; imported when first asked for, since some need packages of their own."""


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"accel.data.{HOMES[name]}"), name)
    raise AttributeError(f"module 'accel.data' has no {name!r}")
