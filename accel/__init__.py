"""accel trains PyTorch models faster, one plugin at a time, and exactly."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Trainer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Trainer":
        from accel.trainer import Trainer

        return Trainer
    raise AttributeError(f"module 'accel' has no attribute {name!r}")
