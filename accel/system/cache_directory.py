"""Directory for data that is kept from one run to the next."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

__all__ = ["cache_directory"]


def cache_directory(setting: str) -> Path:
    """Return the directory that `setting` names.

    Args:
        setting: A path, or `auto` for the user's cache directory: on Linux `$XDG_CACHE_HOME/accel`, by default `~/.cache/accel`.
    """
    return user_cache_path("accel", appauthor=False) if setting == "auto" else Path(setting).expanduser()
