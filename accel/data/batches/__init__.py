"""Batches of an epoch, made from a data set: order, share of a rank, bad samples, collation."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = []

if not TYPE_CHECKING:
    from accel.system.deprecation.old_paths import deprecated_names

    __getattr__ = deprecated_names(
        __name__,
        {
            "Batches": "accel.data.batches.base.Batches",
            "Mapped": "accel.data.batches.mapped.MapBatches",
            "Ready": "accel.data.batches.ready.ReadyBatches",
            "Streamed": "accel.data.batches.iterable.IterableBatches",
        },
    )
