"""Sources of the weights that a model begins with: a file of any program, a run, a state dict or a module."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from accel.checkpoints.discovery import load
from accel.checkpoints.given_weights.checkpoint_weights import is_run_state, weights_of_checkpoint, weights_of_state
from accel.checkpoints.given_weights.safetensors_file import INDICES, load_index, load_safetensors
from accel.checkpoints.given_weights.torch_file import load_torch_file, state_in
from accel.checkpoints.manifest import Damaged
from accel.checkpoints.weights.find_weights import find_weights
from accel.checkpoints.weights.weight_names import plain_state
from accel.errors import ConfigError, describe
from accel.parts.model_shape.model_structure import Structure
from accel.system.disk_errors import nearest_beside, readable

__all__ = ["GivenWeights", "given_structure", "given_weights", "is_checkpoint"]

WHOLE = "pytorch_model.bin"
"""The one file of a model, as Hugging Face's libraries wrote it before safetensors."""
POINTER = b"version https://git-lfs"


class GivenWeights(NamedTuple):
    """Weights by name, and where they come from, in words."""

    state: dict[str, Tensor]
    origin: str


def given_weights(source: Any, model: nn.Module) -> GivenWeights:
    """Return the weights in what the user gave, on the CPU where they come from a file.

    Args:
        source: a path, a state dict or a module.
        model: what they are for.

    Raises:
        ConfigError: if there are none, or they cannot be read.
    """
    if isinstance(source, nn.Module):
        state = plain_state(source, source.state_dict())
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        return GivenWeights(_some(tensors, f"a {type(source).__name__}"), f"a {type(source).__name__}")
    if isinstance(source, Mapping):
        return GivenWeights(state_in(dict(source), "the dict that is given")[0], "a state dict")
    if not isinstance(source, str | PathLike):
        raise ConfigError(f"init must be a file, a run directory, a state dict or a module, not {describe(source)}")
    path = Path(source)
    if not str(source):
        raise ConfigError("init=: nothing is named; name a file or a run directory, or leave it out")
    with readable(path):
        if not path.exists():
            raise ConfigError(f"{path} does not exist{nearest_beside(path)}")
        try:
            return _of_directory(path, model) if path.is_dir() else _of_file(path, model)
        except Damaged as error:
            raise ConfigError(f"{path}: the checkpoint {error}") from None


def given_structure(source: Any) -> Structure:
    """Return what was done to the modules of the model that the weights in a path are of; empty if that is not known.

    Raises:
        ConfigError: as `given_weights` does.
    """
    if not isinstance(source, str | PathLike) or not str(source):
        return []
    path = Path(source)
    with readable(path):
        if not path.exists() or any((path / name).exists() for name in (*INDICES, WHOLE)):
            return []
        if path.is_file() and path.suffix != ".safetensors" and not is_checkpoint(path):
            return []
        return find_weights(path).structure


def is_checkpoint(path: Path) -> bool:
    """Return whether a file is the state in a checkpoint: its manifest lies beside it."""
    return path.suffix == ".pt" and path.with_suffix(".json").is_file()


def _of_directory(path: Path, model: nn.Module) -> GivenWeights:
    """Return the weights in a run directory, the best if it keeps them, or in a folder of Hugging Face's libraries."""
    for name in INDICES:
        if (path / name).is_file():
            return _of_file(path / name, model)
    if (path / WHOLE).is_file():
        return _of_file(path / WHOLE, model)
    saved = find_weights(path)
    if saved.is_checkpoint:
        assert saved.checkpoint is not None
        state, words = weights_of_checkpoint(saved.checkpoint, model)
        return GivenWeights(state, f"{path}, {saved.text}: {words}")
    return GivenWeights(load_safetensors(saved.file), f"{path}, {saved.text}: {saved.file.name}")


def _of_file(path: Path, model: nn.Module) -> GivenWeights:
    """Return the weights in a file. Its first bytes tell what it is, whatever its name says."""
    if path.suffix == ".json":
        return GivenWeights(_some(load_index(path, lambda piece: _of_file(piece, model).state), path), str(path))
    with path.open("rb") as stream:
        head = stream.read(max(9, len(POINTER)))
    if head.startswith(POINTER):
        raise ConfigError(f"{path} only points to its content, which Git LFS keeps; fetch it with 'git lfs pull'")
    if head[8:9] == b"{" or path.suffix == ".safetensors":
        return GivenWeights(_some(load_safetensors(path), path), str(path))
    if is_checkpoint(path):
        state, words = weights_of_checkpoint(load(path), model)
        return GivenWeights(state, f"{path}: {words}")
    content = load_torch_file(path)
    if is_run_state(content):
        state, words = weights_of_state(content)
        return GivenWeights(_some(state, path), f"{path}: {words}")
    state, key = state_in(content, str(path))
    return GivenWeights(state, f"{key!r} of {path}" if key else str(path))


def _some(state: dict[str, Tensor], path: Path | str) -> dict[str, Tensor]:
    """Return a state. Raise ConfigError if it is empty."""
    if not state:
        raise ConfigError(f"{path} has no weights in it")
    return state
