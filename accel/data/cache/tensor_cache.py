"""Tensors kept in a file from one run to the next, under the name of what they are a function of."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from functools import reduce
from pathlib import Path
from zlib import crc32

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from accel.errors import AccelWarning
from accel.system.cache_directory import cache_directory as cache_directory

__all__ = ["crc", "load", "save"]


def load(file: Path, of: str, like: list[Tensor]) -> list[Tensor] | None:
    """What was saved there; None where nothing was, or what is there is not whole, or is something else.

    Args:
        of: what the tensors are a function of.
        like: the dtype and the shape of each.
    """
    try:
        with safe_open(file, "pt") as opened:
            said = opened.metadata() or {}
        found = load_file(file)
        tensors = [found[str(number)] for number in range(len(found))]
    except (OSError, SafetensorError, KeyError):
        return None
    forms = [(tensor.shape, tensor.dtype) for tensor in tensors]
    if said.get("of") != of or forms != [(tensor.shape, tensor.dtype) for tensor in like]:
        return None
    return tensors if said.get("crc32") == crc(tensors) else None


def save(file: Path, of: str, tensors: list[Tensor]) -> None:
    """Keeps them. `file` is whole or not there at all; where it cannot be written there is a warning, and the run goes on."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    named = {str(number): tensor.contiguous() for number, tensor in enumerate(tensors)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(named, temporary, {"of": of, "crc32": crc(tensors)})
        temporary.replace(file)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink()
        warnings.warn(f"resident.cache: {file.parent} cannot be written ({error}); nothing is kept", AccelWarning, stacklevel=2)


def crc(tensors: list[Tensor]) -> str:
    """The crc32 of all their bytes, in order."""
    return str(
        reduce(lambda before, tensor: crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, before), tensors, 0)
    )
