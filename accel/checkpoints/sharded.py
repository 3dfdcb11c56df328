"""What is spread over several processes goes to the disk in pieces, and comes back to any number of processes.

Each process writes the pieces that it has, in one safetensors file, through `torch.distributed.checkpoint`: no pickle is written
and none is read. Where a piece lies in the whole stands in the files, so that another number of processes reads what it needs
of them, and one process alone reads all of it, without any group.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accel.device.dtensor import is_dtensor, local_shard

__all__ = ["MARK", "all_agree", "load_sharded", "local_pieces", "save_sharded", "split_sharded"]

MARK = "__spread__"
"""The key of what stands in a state where a tensor stood that is spread: its name among the pieces, its shape, its dtype."""


def split_sharded(state: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """A state without the tensors that are spread, each replaced by a plain value that says what stood there; and these by name."""
    if is_dtensor(state):
        return {MARK: path, "shape": list(state.shape), "dtype": str(state.dtype).removeprefix("torch.")}, {path: state}
    if not isinstance(state, dict | list | tuple):
        return state, {}
    pieces: dict[str, Tensor] = {}
    keyed = state.items() if isinstance(state, dict) else enumerate(state)
    rest = {}
    for key, value in keyed:
        rest[key], found = split_sharded(value, f"{path}/{key}" if path else str(key))
        pieces |= found
    return (rest if isinstance(state, dict) else type(state)(rest.values())), pieces


def save_sharded(pieces: dict[str, Tensor], folder: Path, group: Any = None) -> None:
    """Writes the pieces that this process has into `folder`; all processes of `group` call it, and return when all have written.

    Raises:
        OSError: on all of them, where the disk did not take what one of them wrote.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save as write

    try:
        write(pieces, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True), process_group=group)
    except CheckpointException as error:
        for failure, _ in error.failures.values():
            if isinstance(failure, OSError):
                raise failure from None
        raise


def local_pieces(pieces: dict[str, Tensor]) -> list[Tensor]:
    """What this process has of the pieces."""
    return [local_shard(piece) for piece in pieces.values()]


def all_agree(flag: bool, group: Any) -> bool:
    """Whether every process of `group` says so; all of them call it."""
    number = torch.tensor(int(flag))
    torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MIN, group=group)
    return bool(number)


def load_sharded(rest: Any, folder: Path, mesh: Any = None, group: Any = None) -> Any:
    """The whole state again: spread over `mesh` along the first dimension, as FSDP does, or whole where it is None.

    All processes of `group` call it.

    Raises:
        KeyError: where a piece is not in the files.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load as read

    pieces: dict[str, Tensor] = {}
    state = _places(rest, pieces, mesh)
    if pieces:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # one process reads all of it
                read(pieces, storage_reader=HuggingFaceStorageReader(str(folder)), process_group=group, no_dist=mesh is None)
        except RuntimeError as error:
            if "Missing key" in str(error):
                raise KeyError(str(error)) from None
            raise
    return state


def _places(rest: Any, pieces: dict[str, Tensor], mesh: Any) -> Any:
    """`rest` with an empty tensor in each place where one was spread; these also in `pieces`, by name."""
    if isinstance(rest, dict) and MARK in rest:
        dtype = getattr(torch, rest["dtype"])
        if mesh is None:
            tensor = torch.empty(rest["shape"], dtype=dtype)
        else:
            from torch.distributed.tensor import Shard, empty

            tensor = empty(*rest["shape"], dtype=dtype, device_mesh=mesh, placements=[Shard(0)] * mesh.ndim)
        pieces[rest[MARK]] = tensor
        return tensor
    if isinstance(rest, dict):
        return {key: _places(value, pieces, mesh) for key, value in rest.items()}
    if isinstance(rest, list | tuple):
        return type(rest)(_places(value, pieces, mesh) for value in rest)
    return rest
