"""Tensors kept in a file from one run to the next, under the name of what they are a function of."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from accel.data.home import folder as folder
from accel.errors import AccelWarning


def load(file: Path) -> list[Tensor] | None:
    """What was saved there; None where nothing was, or what is there is not whole."""
    try:
        found = load_file(file)
        return [found[str(number)] for number in range(len(found))]
    except (OSError, SafetensorError, KeyError):
        return None


def save(file: Path, tensors: list[Tensor]) -> None:
    """Keeps them. `file` is whole or not there at all; where it cannot be written there is a warning, and the run goes on."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({str(number): tensor.contiguous() for number, tensor in enumerate(tensors)}, temporary)
        temporary.replace(file)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink()
        warnings.warn(f"resident.cache: {file.parent} cannot be written ({error}); nothing is kept", AccelWarning, stacklevel=2)
