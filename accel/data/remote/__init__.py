"""Files at URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if not TYPE_CHECKING:
    from accel.system.deprecated_paths import deprecated_names

    __getattr__ = deprecated_names(
        __name__,
        {name: f"{__name__}.fsspec_client.{name}" for name in ("Info", "below", "info", "inside", "is_url", "matching", "ranged")},
    )
