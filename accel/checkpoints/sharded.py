"""Sharded tensors on the disk: written by several processes, read by any number of them.

Each process writes its shards in one safetensors file, through `torch.distributed.checkpoint`: no pickle is written and none is
read. The files say where a shard lies in the whole tensor. So another number of processes reads what it needs, and one process
alone reads all of it, without any group.
"""

from __future__ import annotations

import warnings
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accel.checkpoints.snapshot import is_flat
from accel.device.dtensor import is_dtensor, local_shard
from accel.system.own_files import remove_link

__all__ = ["MARK", "all_agree", "load_sharded", "local_pieces", "save_sharded", "split_sharded"]

MARK = "__spread__"
"""Key of the value that replaces a sharded tensor in a state: its name among the shards, its shape, its dtype."""


def split_sharded(state: Any, path: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Return the state with each sharded tensor replaced by a plain value that describes it, and the sharded tensors by name."""
    if is_dtensor(state):
        return {MARK: path, "shape": list(state.shape), "dtype": str(state.dtype).removeprefix("torch.")}, {path: state}
    if not isinstance(state, dict | list | tuple) or is_flat(state):
        return state, {}
    pieces: dict[str, Tensor] = {}
    keyed = state.items() if isinstance(state, dict) else enumerate(state)
    rest = {}
    for key, value in keyed:
        rest[key], inner_pieces = split_sharded(value, f"{path}/{key}" if path else str(key))
        pieces |= inner_pieces
    return (rest if isinstance(state, dict) else type(state)(rest.values())), pieces


def save_sharded(pieces: dict[str, Tensor], folder: Path, group: Any = None) -> None:
    """Write the shards of this process into `folder`. All processes of `group` call it, and return when all have written.

    Raises:
        OSError: on all of them, if the disk refused the shards of one.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save as write

    remove_link(folder)
    try:
        write(pieces, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True), process_group=group)
    except CheckpointException as error:
        for failure, _ in error.failures.values():
            if isinstance(failure, OSError):
                raise failure from None
        raise


def local_pieces(pieces: dict[str, Tensor]) -> list[Tensor]:
    """Return the local shards of the pieces."""
    return [local_shard(piece) for piece in pieces.values()]


def all_agree(flag: bool, group: Any) -> bool:
    """Return whether `flag` is true on every process of `group`. All of them call it."""
    number = torch.tensor(int(flag))
    torch.distributed.all_reduce(number, torch.distributed.ReduceOp.MIN, group=group)
    return bool(number)


def load_sharded(rest: Any, folder: Path, mesh: Any = None, group: Any = None) -> Any:
    """Return the state with its tensors again: sharded over `mesh` along the first dimension, as FSDP does, or whole.

    All processes of `group` call it.

    Args:
        rest: the state as `split_sharded` left it.
        folder: the folder of the shards.
        mesh: device mesh to shard over; None for whole tensors.
        group: the processes that read; None for one alone.

    Raises:
        KeyError: if a shard is not in the files.
    """
    from torch.distributed.checkpoint.api import CheckpointException
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
        except CheckpointException as error:  # which is no Exception
            reason = next((str(failure) for failure, _ in error.failures.values()), "the shards cannot be read")
            raise (KeyError if "Missing key" in reason else ValueError)(reason) from None
    return state


def _places(rest: Any, pieces: dict[str, Tensor], mesh: Any) -> Any:
    """Return `rest` with an empty tensor in each place of a sharded one, and add these to `pieces`, by name."""
    if isinstance(rest, dict) and MARK in rest:
        dtype, shape = getattr(torch, str(rest.get("dtype")), None), rest.get("shape")
        sizes = shape if isinstance(shape, list) and all(type(size) is int and 0 <= size < 1 << 40 for size in shape) else None
        if not isinstance(dtype, torch.dtype) or sizes is None or not isinstance(rest[MARK], str) or prod(sizes) >= 1 << 46:
            raise ValueError(f"the place of a sharded tensor says {str(rest)[:80]}, and accel never writes that")
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
