"""Loaders of the user's own, which draw random numbers as they go."""

from __future__ import annotations

from pathlib import Path

from accel.plugins.adamw import AdamW
from accel.testing import fit_toy


def stopped(tmp_path: Path) -> Path:
    fit_toy([AdamW()], epochs=3, out=tmp_path / "run", stop=13)
    return tmp_path / "run"
