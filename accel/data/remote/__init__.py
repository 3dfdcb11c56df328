"""Files at URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = []

if not TYPE_CHECKING:
    from accel.system.deprecation.old_paths import deprecated_names

    NAMES = {"below": "walk", "inside": "list_names"} | {name: name for name in ("Info", "info", "is_url", "matching", "ranged")}
    __getattr__ = deprecated_names(__name__, {old: f"{__name__}.fsspec_client.{new}" for old, new in NAMES.items()})
