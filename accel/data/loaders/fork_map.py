"""Work spread over processes that are forked for it, and write into memory that they share with this one."""

from __future__ import annotations

import mmap
import multiprocessing as mp
import os
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from accel.data.loaders.worker_pool import cause
from accel.data.loaders.worker_process import forget_signals, portable
from accel.errors import TrainingError

__all__ = ["Item", "can_fork", "fork_map", "shared_zeros"]

Item = TypeVar("Item")


def can_fork() -> bool:
    """Whether processes can be forked here."""
    return "fork" in mp.get_all_start_methods()


def shared_zeros(like: Tensor) -> Tensor:
    """A tensor of the same shape and dtype, of zeros, in memory that processes forked from here on share."""
    memory = mmap.mmap(-1, max(1, like.nbytes))
    flat = torch.from_numpy(np.frombuffer(memory, np.uint8, like.nbytes))
    return flat.view(like.dtype).view(like.shape)


def fork_map(task: Callable[[int], Item], count: int, hands: int) -> list[Item]:
    """What `task(number)` gives for every number below `count`, in order, each called in one of `hands` processes.

    It travels by a pipe, all of a process at its end.

    Raises:
        BaseException: what the first of them to fail raised; the rest is not done then.
        TrainingError: where one of them dies.
    """
    context, under_way = mp.get_context("fork"), dict[Connection, BaseProcess]()
    found: dict[int, Item] = {}
    try:
        for hand in range(hands):
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(
                target=_work, args=(task, range(hand, count, hands), theirs, os.getpid()), daemon=True
            )
            process.start()
            theirs.close()
            under_way[ours] = process
        while under_way:
            for pipe in cast(list[Connection], wait(list(under_way))):
                found |= _hear(pipe, under_way[pipe])
                under_way.pop(pipe).join()
                pipe.close()
    finally:
        for pipe, process in under_way.items():
            process.kill()
            process.join()
            pipe.close()
    return [found[number] for number in range(count)]


def _hear(pipe: Connection, process: BaseProcess) -> dict[int, Any]:
    try:
        found, error, text = pipe.recv()
    except EOFError:
        process.join()
        how = cause(process.exitcode or 0)
        raise TrainingError(
            f"a process that read the data {how} (out of memory?); leave resident out, or shrink the data"
        ) from None
    if text:
        raise error or RuntimeError(text)
    return cast(dict[int, Any], found)


def _work(task: Callable[[int], Any], numbers: range, pipe: Connection, parent: int) -> None:
    forget_signals()
    torch.set_num_threads(1)
    found: dict[int, Any] = {}
    said: tuple[BaseException | None, str] = None, ""
    try:
        for number in numbers:
            if os.getppid() != parent:  # nobody waits for it any longer
                return
            found[number] = task(number)
    except Exception as error:
        said = portable(error), f"{type(error).__name__}: {error}"
    with suppress(ConnectionError):
        pipe.send((found, *said))
