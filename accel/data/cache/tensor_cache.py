"""Cache of tensors in a file, from one run to the next, under a key that names all that they are a function of."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from zlib import crc32

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from accel.system import atomic_files
from accel.system.cache_directory import cache_directory as cache_directory
from accel.system.call_stack import warn_user

__all__ = ["load", "save", "tensor_crc"]


def load(file: Path, key: str, example: list[Tensor]) -> list[Tensor] | None:
    """Return the tensors of a file; None if there is none, it is not whole, or it holds others.

    Args:
        file: written by `save`.
        key: that `save` was given.
        example: tensors with the dtype and the shape of each.
    """
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
        saved = load_file(file)
        tensors = [saved[str(number)] for number in range(len(saved))]
    except (OSError, SafetensorError, KeyError):
        return None
    formats = [(tensor.shape, tensor.dtype) for tensor in tensors]
    if metadata.get("of") != key or formats != [(tensor.shape, tensor.dtype) for tensor in example]:
        return None
    return tensors if metadata.get("crc32") == tensor_crc(tensors) else None


def save(file: Path, key: str, tensors: list[Tensor]) -> None:
    """Save tensors. `file` is whole or not there at all; if it cannot be written there is a warning, and the run goes on.

    Args:
        file: a safetensors file.
        key: names all that the tensors are a function of.
        tensors: on the CPU.
    """
    named = {str(number): tensor.contiguous() for number, tensor in enumerate(tensors)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.swapped_in(file) as temporary:
            save_file(named, temporary, {"of": key, "crc32": tensor_crc(tensors)})
    except (OSError, SafetensorError) as error:
        warn_user(f"resident.cache: {file.parent} cannot be written ({error}); nothing is kept")


def tensor_crc(tensors: list[Tensor]) -> str:
    """Return the crc32 of the bytes of all tensors, in order, as a decimal number."""
    return str(
        reduce(lambda before, tensor: crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, before), tensors, 0)
    )
