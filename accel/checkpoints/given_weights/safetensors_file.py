"""Weights in files of safetensors: one, or several with an index."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from accel.errors import ConfigError

__all__ = ["INDEX", "load_index", "load_safetensors"]

INDEX = "model.safetensors.index.json"
"""The file beside the pieces of one model that says which has what, as Hugging Face's libraries write it."""


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file by name, on the CPU. Raise ConfigError for a file that is none, or not whole."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"{path} is no safetensors file, or not a whole one ({' '.join(str(error).split())[:100]})") from error


def load_index(path: Path) -> dict[str, Tensor]:
    """Return the tensors of all files that an index names, by name, on the CPU.

    Raises:
        ConfigError: for an index that cannot be read, and for a file or a tensor that is not there.
    """
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no index of safetensors files: it has no weight_map") from error
    state: dict[str, Tensor] = {}
    for file in dict.fromkeys(files.values()):
        if Path(file).name != file:
            raise ConfigError(f"{path} names {file}, which is outside of its folder")
        if not path.with_name(file).is_file():
            raise ConfigError(f"{path} names {file}, which is not beside it")
        piece = load_safetensors(path.with_name(file))
        if absent := [name for name, place in files.items() if place == file and name not in piece]:
            raise ConfigError(f"{path.with_name(file)} lacks {absent[0]}, which {path.name} says is in it")
        state |= {name: value for name, value in piece.items() if files.get(name) == file}
    return state
