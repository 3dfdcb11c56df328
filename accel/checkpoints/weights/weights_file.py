"""Files of weights: safetensors, replaced as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from accel.system import atomic_files

__all__ = ["storable_tensors", "write_weights"]


def write_weights(
    path: Path, state: dict[str, Any], place: str = "", left_out: Callable[[str], None] | None = None, **facts: str
) -> None:  # fmt: skip
    """Write the tensors of a state.

    Args:
        path: the file.
        state: tensors by name.
        place: name of the fault points.
        left_out: called with the name of each value that the file cannot hold.
        facts: texts for the file's own metadata.

    Raises:
        OSError: if the disk does not take it.
    """
    atomic_files.write(path, save(storable_tensors(state, left_out), facts or None), place)


def storable_tensors(state: dict[str, Any], left_out: Callable[[str], None] | None = None) -> dict[str, Tensor]:
    """Return the tensors of a state that safetensors can hold: dense, in memory of their own, tied ones once.

    A run that has been trained must not fail here, as `safetensors.torch.save_model` does over anything else.

    Args:
        state: tensors by name.
        left_out: called with the name of each value that is left out.
    """
    dense: dict[Any, tuple[str, Tensor]] = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and value.layout == torch.strided:
            memory = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else name
            dense.setdefault(memory, (name, value))
        elif left_out is not None:
            left_out(name)
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in dense.values()}
