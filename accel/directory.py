"""The run directory: made when everything stands, and unmade where nothing came of it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from accel import disk
from accel.errors import ConfigError


def make(out: Path, config: str) -> list[Path]:
    """Makes `out`, with config.yaml in it where there is one; returns the folders that were not there before, the innermost first.

    Raises:
        ConfigError: where it cannot be made, or nothing could be written there.
    """
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        disk.write(out / "plan.json", b"")
        if config:
            disk.write(out / "config.yaml", config.encode())
    except OSError as error:
        unmake(out, new)
        raise ConfigError(f"out={out}: cannot write there ({disk.why(error)}); name another directory") from None
    return new


def unmake(out: Path, new: list[Path]) -> None:
    """Takes a run directory away that `make` made, and the folders above it that hold nothing else."""
    if out not in new:
        return
    shutil.rmtree(out, ignore_errors=True)
    with suppress(OSError):  # another run has begun beside it
        for folder in new[1:]:
            folder.rmdir()
