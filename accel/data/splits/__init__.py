"""Splits: which folder, store or shards a split of a data set is, and whether a store holds the samples of the data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = []

if not TYPE_CHECKING:
    from accel.system.deprecation.old_paths import deprecated_names

    __getattr__ = deprecated_names(
        __name__,
        {
            "packed_at": f"{__name__}.open_split.open_packed",
            "shards_of": f"{__name__}.open_split.open_shards",
            "split_at": f"{__name__}.open_split.open_split",
        },
    )
