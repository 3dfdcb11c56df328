"""Weights of a run that is there, read and put into a model as they were evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from accel.checkpoints import sharded
from accel.checkpoints.discovery import FoundCheckpoint, read, verify
from accel.checkpoints.manifest import SHARDS, Damaged
from accel.checkpoints.state import resize_buffers
from accel.checkpoints.user_state import UserState
from accel.checkpoints.weights.averaged_state import averaged_state
from accel.checkpoints.weights.find_weights import FoundWeights
from accel.checkpoints.weights.weight_names import with_names_of
from accel.errors import ConfigError, listed
from accel.system.disk_errors import readable

__all__ = ["SavedWeights", "full_state", "put_back", "put_weights", "read_weights"]

SHOWN = 3
"""Names of weights that a message has, at most."""


@dataclass
class SavedWeights:
    """Evaluated weights, and what a checkpoint of the same moment has beside them."""

    state: dict[str, Any]
    """The `state_dict` of the user's module, by plain names; tied weights may be there once."""
    resized: list[str] = field(default_factory=list)
    """Names of buffers that have another shape than at the start of the run, or that a forward pass makes."""
    user: dict[str, Any] = field(default_factory=dict)
    """Values of the user's objects that moved, by name (`UserState`)."""
    extra: Any = None
    """What `Trainer.get_extra_state` gave."""
    rng: dict[str, Any] = field(default_factory=dict)
    """State of the first rank's random generators, which an evaluation leaves as it is; empty if it is not known."""


def read_weights(source: FoundWeights, model: nn.Module) -> SavedWeights:
    """Return the weights of a file, as they were evaluated.

    Args:
        source: the file.
        model: a module of the run's make, which is left as it is: the average of a checkpoint's weights is told by its parameters.

    Raises:
        ConfigError: if the file cannot be read, or is of another model.
    """
    checkpoint = source.checkpoint
    if source.is_checkpoint:
        assert checkpoint is not None
        try:
            whole = full_state(checkpoint, checkpoint.state())
            return _beside(whole, averaged_state(model, whole, checkpoint.manifest.identity))
        except Damaged as error:
            raise ConfigError(f"{source.file}: the checkpoint {error}") from None
        except ConfigError:
            raise
        except Exception as error:  # whatever the parts trip over
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"{source.file}: the checkpoint is of another model ({reason})") from error
    try:
        with readable(source.file):
            source.file.open("rb").close()  # safetensors says of a file that may not be read that there is none
            weights: dict[str, Any] = load_file(source.file)
    except SafetensorError as error:
        raise ConfigError(f"{source.file} cannot be read: {error}") from None
    return SavedWeights(weights) if checkpoint is None else _beside(_state_beside(checkpoint), weights)


def full_state(checkpoint: FoundCheckpoint, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a checkpoint with the tensors that several processes wrote in shards, whole."""
    folder = checkpoint.file.with_suffix(SHARDS)
    return sharded.load_sharded(state, folder) if folder.is_dir() else state


def put_weights(source: FoundWeights, saved: SavedWeights, model: nn.Module) -> None:
    """Put weights into a module of the run's make, all of them.

    Raises:
        ConfigError: if they do not fit.
    """
    try:
        resize_buffers(model, saved.state, list(with_names_of(model, dict.fromkeys(saved.resized))))
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{source.file}: the weights are of another model ({error})") from None
    own, state = model.state_dict(), with_names_of(model, saved.state)
    stored = {_memory(own[name]) for name in state if name in own}
    state |= {name: value for name, value in own.items() if name not in state and _memory(value) in stored}
    wrong = [f"{what} {listed(names, SHOWN)}" for what, names in _misfits(own, state) if names]
    if wrong:
        raise ConfigError(f"{source.file}: the weights are of another model: {'; '.join(wrong)}")
    model.load_state_dict(state)


def put_back(saved: SavedWeights, model: nn.Module, task: Any, device: torch.device) -> None:
    """Give the modules of a model, and the task, what else moved in the run: attributes, and buffers that are not persistent.

    Args:
        saved: the weights, and what is beside them.
        model: the module, with its weights.
        task: the task; None for a model alone.
        device: of the model.
    """
    user = {name: value for name, value in saved.user.items() if name.partition(".")[0] in ("model", "task")}
    if user:
        UserState(model, {} if task is None else {"task": task}).load_state_dict(user, device)
    if task is not None and saved.extra is not None:
        task.set_extra_state(saved.extra)


def _beside(state: Mapping[str, Any], weights: dict[str, Any]) -> SavedWeights:
    """Return evaluated weights with what the state of a checkpoint has beside them."""
    left_out = {name: value for name, value in state.get("model", {}).items() if not _is_dense(value)}
    rng = state.get("rng", {}).get("now", {})
    return SavedWeights({**left_out, **weights}, state.get("resized", []), state.get("user", {}), state.get("extra"), rng)


def _state_beside(checkpoint: FoundCheckpoint) -> dict[str, Any]:
    """Return what the state of a checkpoint has beside the weights; empty if it is damaged."""
    with suppress(Damaged, PermissionError):
        state = read(checkpoint.file, checkpoint.manifest, mmap=True)
        if {"resized", "user", "extra"} & state.keys() or not all(map(_is_dense, state["model"].values())):
            verify(checkpoint.file)  # all of it is read for that
            return checkpoint.state()
        return {"rng": state["rng"]}
    return {}


def _is_dense(value: Any) -> bool:
    """Return whether a file of weights can hold a value, or it is spread over several files."""
    return (isinstance(value, Tensor) and value.layout == torch.strided) or (isinstance(value, dict) and sharded.MARK in value)


def _memory(value: Any) -> Any:
    return (value.device, value.data_ptr(), value.dtype, value.shape, value.stride()) if isinstance(value, Tensor) else id(value)


def _misfits(own: Mapping[str, Any], state: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the names that the model has and the weights have not, those of the weights alone, and those of another shape."""
    tensors = [name for name in own if isinstance(own[name], Tensor) and isinstance(state.get(name), Tensor)]
    shapes = [
        f"{name} ({tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model)"
        for name in tensors
        if own[name].shape != state[name].shape
    ]
    missing, alone = [name for name in own if name not in state], [name for name in state if name not in own]
    return [("the file is without", missing), ("the model is without", alone), ("another shape of", shapes)]
