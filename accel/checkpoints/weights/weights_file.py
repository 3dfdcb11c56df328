"""Files of weights: safetensors, replaced as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from accel.errors import ConfigError
from accel.parts.model_shape.model_structure import Structure, is_structure
from accel.system import atomic_files

__all__ = ["FACTS", "STRUCTURE", "read_structure", "storable_tensors", "structure_facts", "with_ordered_facts", "write_weights"]

FACTS = "__metadata__"
"""The entry of the header that holds texts in place of a tensor."""
STRUCTURE = "accel_structure"
"""The text among them that says what was done to the modules of the user's model, in JSON."""


def write_weights(
    path: Path, state: dict[str, Any], place: str = "", left_out: Callable[[str], None] | None = None, **facts: str
) -> None:  # fmt: skip
    """Write the tensors of a state. Equal tensors and facts make equal files, byte for byte.

    Args:
        path: the file.
        state: tensors by name.
        place: name of the fault points.
        left_out: called with the name of each value that the file cannot hold.
        facts: texts for the file's own metadata.

    Raises:
        OSError: if the disk does not take it.
    """
    content = with_ordered_facts(memoryview(save(storable_tensors(state, left_out), facts or None)))
    with atomic_files.replacing(path, place) as stream:
        for part in content:
            stream.write(part)


def structure_facts(structure: Structure) -> dict[str, str]:
    """Return what the metadata of a file has of a model's structure: nothing for a model that is as its user made it."""
    return {STRUCTURE: json.dumps(structure)} if structure else {}


def read_structure(path: Path) -> Structure:
    """Return the structure in the metadata of a file of safetensors; an empty one if there is none.

    Raises:
        ConfigError: if there is something else in its place.
    """
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(STRUCTURE)
    except (OSError, SafetensorError):
        return []  # whoever reads its tensors says so
    try:
        structure = [] if text is None else json.loads(text)
    except (ValueError, RecursionError):
        structure = None
    if not is_structure(structure):
        raise ConfigError(f"{path}: its metadata has a {STRUCTURE} that accel did not write")
    return cast(Structure, structure)


def with_ordered_facts(data: memoryview) -> tuple[bytes, memoryview]:
    """Return the header of a file of safetensors with its metadata in order, and what follows it. The library shuffles them.

    Args:
        data: the file: eight bytes with the size of the header, the header in JSON, the tensors.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:end]))
    if FACTS in header:
        header[FACTS] = dict(sorted(header[FACTS].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    return len(text).to_bytes(8, "little") + text, data[end:]


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
