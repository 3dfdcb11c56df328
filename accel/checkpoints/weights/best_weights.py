"""best.safetensors: the weights whose evaluation was the best."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from accel.checkpoints.manifest import Manifest
from accel.checkpoints.weights.weights_file import structure_facts, write_weights
from accel.parts.model_shape.model_structure import Structure

__all__ = ["BEST", "BestWeights", "read_best"]

BEST = "best.safetensors"
NOTHING: Structure = []
"""The structure of a model that is as its user made it."""


class BestWeights:
    """The file best.safetensors of a run directory. Its metadata names the checkpoint that it belongs to.

    It always is of the best checkpoint there is: a run that goes on compares the two, and writes it again if they differ.

    Args:
        out: the run directory.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / BEST

    def checkpoint(self) -> str:
        """Return the name of the checkpoint that the file is of; an empty text if there is no file, or another one."""
        return read_best(self.path).get("checkpoint", "")

    def write(
        self, state: dict[str, Any], checkpoint: str, epoch: int, metric: str, value: float, structure: Structure = NOTHING
    ) -> None:
        """Write the weights of a model of a structure. Raise OSError if the disk does not take them."""
        facts = {"checkpoint": checkpoint, "epoch": str(epoch), "metric": metric, "value": repr(float(value))}
        write_weights(self.path, state, "saving.best", None, **facts, **structure_facts(structure))

    def write_of(self, state: dict[str, Any], manifest: Manifest, metric: str) -> None:
        """Write the weights of a checkpoint that has been evaluated. Raise OSError if the disk does not take them."""
        value = manifest.metrics[metric]
        assert value is not None
        self.write(state, manifest.name, manifest.progress["epoch"], metric, value, manifest.structure)

    def remove(self) -> None:
        """Remove the file, if there is one and the disk lets it go."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def read_best(path: Path) -> dict[str, str]:
    """Return the metadata of a best.safetensors: `checkpoint`, `epoch`, `metric` and `value`; empty if there is none."""
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}
