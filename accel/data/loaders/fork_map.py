"""Map over forked processes, which write into memory that they share with this one."""

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

from accel.data.loaders.worker import exit_cause
from accel.data.loaders.worker_process import picklable, reset_signal_handlers
from accel.errors import TrainingError

__all__ = ["Item", "can_fork", "fork_map", "shared_zeros"]

Item = TypeVar("Item")


def can_fork() -> bool:
    """Return whether processes can be forked here."""
    return "fork" in mp.get_all_start_methods()


def shared_zeros(like: Tensor) -> Tensor:
    """Return a tensor of zeros, of the shape and dtype of `like`, in memory that processes forked from here on share."""
    memory = mmap.mmap(-1, max(1, like.nbytes))
    flat = torch.from_numpy(np.frombuffer(memory, np.uint8, like.nbytes))
    return flat.view(like.dtype).view(like.shape)


def fork_map(task: Callable[[int], Item], count: int, processes: int) -> list[Item]:
    """Return `task(number)` for every number below `count`, in order, each called in one of `processes` processes.

    All results of a process travel by a pipe at its end.

    Raises:
        BaseException: of the first process that fails; the rest is not done then.
        TrainingError: if a process dies.
    """
    context, pending = mp.get_context("fork"), dict[Connection, BaseProcess]()
    results: dict[int, Item] = {}
    try:
        for place in range(processes):
            receiver, sender = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(
                target=_work, args=(task, range(place, count, processes), sender, os.getpid()), daemon=True
            )
            process.start()
            sender.close()
            pending[receiver] = process
        while pending:
            for pipe in cast(list[Connection], wait(list(pending))):
                results |= _receive(pipe, pending[pipe])
                pending.pop(pipe).join()
                pipe.close()
    finally:
        for pipe, process in pending.items():
            process.kill()
            process.join()
            pipe.close()
    return [results[number] for number in range(count)]


def _receive(pipe: Connection, process: BaseProcess) -> dict[int, Any]:
    """Return the results of a process, by number.

    Raises:
        BaseException: of the task.
        TrainingError: if the process died.
    """
    try:
        results, error, text = pipe.recv()
    except EOFError:
        process.join()
        ending = exit_cause(process.exitcode or 0)
        raise TrainingError(
            f"a process that read the data {ending} (out of memory?); leave resident out, or shrink the data"
        ) from None
    if text:
        raise error or RuntimeError(text)
    return cast(dict[int, Any], results)


def _work(task: Callable[[int], Any], numbers: range, pipe: Connection, parent: int) -> None:
    """Call the task for each number, and send the results, an error and its text; the work of a process."""
    reset_signal_handlers()
    torch.set_num_threads(1)
    results: dict[int, Any] = {}
    failure: tuple[BaseException | None, str] = None, ""
    try:
        for number in numbers:
            if os.getppid() != parent:  # nobody waits for it any longer
                return
            results[number] = task(number)
    except Exception as error:
        failure = picklable(error), f"{type(error).__name__}: {error}"
    with suppress(ConnectionError):
        pipe.send((results, *failure))
