"""Candidates for file names."""

from __future__ import annotations

from pathlib import Path

from accel.cli.help_page import Row

__all__ = ["path_candidates"]


def path_candidates(word: str, only_folders: bool = False) -> list[Row]:
    """Return the paths that begin with `word`, folders with a slash behind them; hidden ones only after a dot.

    Args:
        word: beginning of a path; `~` stands for the home folder, and is kept.
        only_folders: leave out files.
    """
    folder, slash, name = word.rpartition("/")
    try:
        entries = sorted(Path(f"{folder}{slash}" or ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        return []
    rows = []
    for path in entries:
        if path.name.startswith(name) and path.name.startswith(".") == name.startswith("."):
            if path.is_dir():
                rows.append((f"{folder}{slash}{path.name}/", ""))
            elif not only_folders:
                rows.append((f"{folder}{slash}{path.name}", ""))
    return rows
