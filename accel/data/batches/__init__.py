"""From a data set to the batches of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if not TYPE_CHECKING:
    from accel.system.deprecated_paths import deprecated_names

    __getattr__ = deprecated_names(
        __name__, {name: f"{__name__}.base.{name}" for name in ("Batches", "Mapped", "Order", "Ready", "Streamed")}
    )
