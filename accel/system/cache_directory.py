"""Where things are kept from one run to the next."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory(setting: str) -> Path:
    """Where `setting` says: `auto` is the user's own cache directory."""
    if setting != "auto":
        return Path(setting).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "accel"
