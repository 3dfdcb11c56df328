"""Input pipeline: everything from records on a disk to batches on a device, for a training loop of one's own too.

- `store`, `sampling`, `augmentation`, `philox`: the store protocol, order and random numbers, augmentation of whole batches.
- `stores/`, `shards/`, `remote/`, `cache/`: where records come from. `splits/`: which store holds which split.
- `codecs/`: pictures to pixels. `datasets/`: samples by index. `batches/`: samples to batches.
- `loaders/`: threads, processes, DALI and device memory that read ahead.

The public names are imported from here: `from accel.data import DataLoaderX, Records, Ring`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accel.data.datasets.records import Records as Records
    from accel.data.loaders.read_ahead import DataLoaderX as DataLoaderX
    from accel.data.loaders.ring import Ring as Ring

__all__ = ["DataLoaderX", "Records", "Ring"]

HOMES = {"DataLoaderX": "loaders.read_ahead", "Records": "datasets.records", "Ring": "loaders.ring"}
"""The module of each public name. It is imported when the name is first asked for, as some need packages of their own."""
PUBLIC_MODULES = ("store", "stores")
"""Public modules and packages in here, imported when one is first asked for."""


def __getattr__(name: str) -> Any:
    """Return a public name of `HOMES`, importing its module, or a public module."""
    if name in PUBLIC_MODULES:
        return import_module(f"accel.data.{name}")
    if name in HOMES:
        return getattr(import_module(f"accel.data.{HOMES[name]}"), name)
    raise AttributeError(f"module 'accel.data' has no {name!r}")
