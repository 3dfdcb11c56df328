"""Which store a split is."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = []

if not TYPE_CHECKING:
    from accel.system.deprecation.old_paths import deprecated_names

    __getattr__ = deprecated_names(
        __name__, {name: f"{__name__}.open_split.{name}" for name in ("packed_at", "shards_of", "split_at")}
    )
