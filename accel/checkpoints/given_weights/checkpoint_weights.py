"""Weights in the state of a run, by their names alone: a model of another make takes what fits it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from accel.checkpoints.discovery import FoundCheckpoint
from accel.checkpoints.weights.averaged_state import averaged_state
from accel.checkpoints.weights.saved_weights import full_state

__all__ = ["is_run_state", "weights_of_checkpoint", "weights_of_state"]

AVERAGES, MASTERS = "average", "masters"
"""Keys under which parts keep averaged weights, and float32 weights in place of 16-bit ones, by name."""
NAMELESS = ("schedule_free",)
"""Parts that keep what the evaluated weights are computed from under no names."""


def is_run_state(content: Any) -> bool:
    """Return whether the content of a file is the state of a run."""
    return isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("model", "parts", "progress", "rng"))


def weights_of_checkpoint(checkpoint: FoundCheckpoint, model: nn.Module) -> tuple[dict[str, Tensor], str]:
    """Return the weights of a checkpoint by name, whole and on the CPU, and which they are, in words.

    Args:
        checkpoint: the checkpoint.
        model: what they are for. Where it is of the make of the run's model, an average that has no names is computed too.

    Raises:
        Damaged: if the checkpoint is not whole any more.
    """
    state = full_state(checkpoint, checkpoint.state())
    if any(state["parts"].get(name) for name in NAMELESS):
        try:
            averages = averaged_state(model, state, checkpoint.manifest.identity)
            return {name: value for name, value in averages.items() if isinstance(value, Tensor)}, "averaged weights"
        except Exception:  # of another make: whatever the parts trip over
            pass
    return weights_of_state(state)


def weights_of_state(state: dict[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Return the weights in a state, averaged ones and masters in place of the model's own, and which they are, in words."""
    kept = {name: part for name, part in state["parts"].items() if isinstance(part, dict)}
    masters, averages = _kept_under(MASTERS, kept), _kept_under(AVERAGES, kept)
    merged = {name: value for name, value in state["model"].items() if isinstance(value, Tensor)}
    merged |= {name: value for name, value in {**masters, **averages}.items() if name in merged and isinstance(value, Tensor)}
    nameless = next((name for name in NAMELESS if kept.get(name)), "")
    words = "averaged weights" if averages else "weights as they were trained"
    return merged, f"{words}, not {nameless}'s average" if nameless and not averages else words


def _kept_under(key: str, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return what the first part that has it keeps under a key, by name."""
    return next((part[key] for part in parts.values() if isinstance(part.get(key), dict)), {})
