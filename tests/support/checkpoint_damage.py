"""Ways in which a checkpoint is damaged."""

from __future__ import annotations

from pathlib import Path

from accel.checkpoints import FOLDER


def two(run: Path) -> tuple[Path, Path]:
    """The .pt of the older and the newer checkpoint."""
    old, new = sorted((run / FOLDER).glob("*.pt"))
    return old, new
