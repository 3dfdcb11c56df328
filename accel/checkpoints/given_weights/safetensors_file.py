"""Weights in a file of safetensors, and in several files with an index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from accel.errors import ConfigError

__all__ = ["INDICES", "load_index", "load_safetensors"]

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Files beside the pieces of one model that say which has what, as Hugging Face's libraries write them."""


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file by name, on the CPU. Raise ConfigError for a file that is none, or not whole."""
    path.open("rb").close()  # the reader of safetensors says of a file that may not be read that there is none
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConfigError(f"{path} is no safetensors file, or not a whole one ({' '.join(str(error).split())[:100]})") from error


def load_index(path: Path, load: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of all files that an index names, by name, on the CPU.

    Args:
        path: the index.
        load: returns the tensors of one file.

    Raises:
        ConfigError: for an index that cannot be read, and for a file or a tensor that is not there.
    """
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no index of files of weights: it has no weight_map") from error
    state: dict[str, Tensor] = {}
    for file in dict.fromkeys(files.values()):
        if Path(file).name != file:
            raise ConfigError(f"{path} names {file}, which is outside of its folder")
        if file.endswith(".json"):
            raise ConfigError(f"{path} names {file}, which is an index too")
        if not file or not path.with_name(file).is_file():
            raise ConfigError(f"{path} names {file}, which is not beside it")
        piece = load(path.with_name(file))
        if absent := [name for name, place in files.items() if place == file and name not in piece]:
            raise ConfigError(f"{path.with_name(file)} lacks {absent[0]}, which {path.name} says is in it")
        state |= {name: value for name, value in piece.items() if files.get(name) == file}
    return state
