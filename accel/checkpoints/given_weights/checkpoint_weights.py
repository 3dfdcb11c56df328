"""Weights in a checkpoint of a run: those that it would evaluate, as far as they can be had without the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from accel.checkpoints import sharded
from accel.checkpoints.discovery import load
from accel.checkpoints.manifest import SHARDS, Damaged
from accel.errors import ConfigError

__all__ = ["is_checkpoint", "load_checkpoint", "weights_of_state"]

AVERAGES, MASTERS = "average", "masters"
"""Keys under which parts keep averaged weights, and float32 weights in place of 16-bit ones, by name."""
ELSEWHERE = ("schedule_free",)
"""Parts that evaluate other weights than the model has, which they keep under no names."""


def is_checkpoint(content: Any) -> bool:
    """Return whether the content of a file is the state of a run."""
    return isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("model", "parts", "progress", "rng"))


def load_checkpoint(file: Path) -> tuple[dict[str, Tensor], str]:
    """Return the weights of a checkpoint by name, whole and on the CPU, and which they are, in words.

    Raises:
        Damaged: if the checkpoint is not whole.
    """
    checkpoint = load(file)
    return weights_of_state(checkpoint.state(), file)


def weights_of_state(state: dict[str, Any], file: Path) -> tuple[dict[str, Tensor], str]:
    """Return the weights in the state of a run: averaged ones, and masters, where it has them.

    Args:
        state: as `accel.checkpoints.state.capture` makes it; weights that several processes have written stand beside it.
        file: the checkpoint's file.

    Raises:
        ConfigError: if pieces of several processes are not beside it.
    """
    kept = {name: part for name, part in state["parts"].items() if isinstance(part, dict)}
    masters = next((part[MASTERS] for part in kept.values() if isinstance(part.get(MASTERS), dict)), {})
    averages = next((part[AVERAGES] for part in kept.values() if isinstance(part.get(AVERAGES), dict)), {})
    weights = {"model": state["model"], "masters": masters, "averages": averages}
    if sharded.split_marks(weights):
        folder = file.with_suffix(SHARDS)
        if not folder.is_dir():
            raise ConfigError(f"{file} has its weights in {folder.name}, which is not beside it")
        weights = sharded.load_sharded(weights, folder)
    merged = {name: value for kind in weights.values() for name, value in kind.items() if isinstance(value, Tensor)}
    words = "averaged weights" if averages else "weights as they were trained"
    if not averages and (other := next((name for name in ELSEWHERE if name in kept), "")):
        words += f", not {other}'s average"
    return {name: value for name, value in merged.items() if name in state["model"]}, words
