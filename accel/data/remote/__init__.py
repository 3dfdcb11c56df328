"""Files at URLs: a client over fsspec, a cache on disk, and the stores that read through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = []

if not TYPE_CHECKING:
    from accel.system.deprecation.old_paths import deprecated_names

    NAMES = {
        "below": "walk",
        "inside": "list_names",
        "Info": "FileInfo",
        "info": "file_info",
        "is_url": "is_url",
        "matching": "glob_urls",
        "ranged": "read_range",
    }
    __getattr__ = deprecated_names(__name__, {old: f"{__name__}.fsspec_client.{new}" for old, new in NAMES.items()})
