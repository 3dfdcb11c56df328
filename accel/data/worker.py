"""What a worker process does: it reads the batches that it is asked for, and hands them over."""

from __future__ import annotations

import multiprocessing as mp
import random
import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel.data.batches import Mapped
from accel.data.shared import Region
from accel.order import batch_rng, sample_rng

IDLE = -1
"""Stands for the sample that is being read while none is."""

NO_SLOT = -1
"""Stands for the slot of a batch that is handed over as a whole."""


class Task(NamedTuple):
    """One batch to read. A position and no samples, so that a task is small and the pipe never fills up with them."""

    turn: int
    """Of the reader: what was asked for in an earlier turn is wanted no longer."""
    which: int
    """Of the data sets."""
    epoch: int
    number: int
    """Of the batch, from 0."""
    slot: int = NO_SLOT
    """Where its samples are to be written."""


class Failure(NamedTuple):
    """What a data set raised."""

    error: BaseException | None
    """None where it cannot be pickled."""
    text: str
    """Its traceback."""
    sample: int


def work(
    pipe: Connection,
    data: Sequence[Mapped],
    regions: Sequence[Region | None],
    board: Tensor,
    place: int,
    inherited: Sequence[Connection],
) -> None:
    """Answers the tasks of `pipe` until it is told to stop or the process that began it is gone.

    An answer is `(task, found)`: the batch; for one that is written into a slot, the list of its labels; a Failure; or None where
    the batch is wanted no longer. It is the last thing that is done for a task: the slot is the reader's again.

    Args:
        pipe: to the reader.
        data: the data sets.
        regions: the slots of each, where it writes into given memory.
        board: int64 in shared memory. The first is the reader's turn; at `place` this process writes the number of the sample
            that it is reading, for whoever finds it dead.
        place: its own on the board.
        inherited: the reader's ends of pipes, which a fork copies and which would keep them open.
    """
    for end in inherited:
        end.close()
    forget_signals()
    torch.set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
    parent = mp.parent_process()
    assert parent is not None
    numbers = board.numpy()
    orders: dict[tuple[int, int], list[Tensor]] = {}
    while pipe in wait([pipe, parent.sentinel]):
        try:
            task: Task | None = pipe.recv()
            if task is None:
                return
            pipe.send((task, read(data, regions, task, numbers[place:], orders) if task.turn == numbers[0] else None))
        except (EOFError, ConnectionError):  # nobody is there to read it
            return


def read(
    data: Sequence[Mapped],
    regions: Sequence[Region | None],
    task: Task,
    now: NDArray[np.int64],
    orders: dict[tuple[int, int], list[Tensor]],
) -> Any:
    """The batch of a task, the labels of one that is written into its slot, or a Failure; `now[0]` is the sample being read.

    Global random numbers are a function of (seed, epoch, batch) here.
    """
    batches, region, place = data[task.which], regions[task.which], (task.which, task.epoch)
    if place not in orders:
        orders.clear()
        orders[place] = list(batches.keys(task.epoch))
    seed = int(batch_rng(batches.seed, task.epoch, task.number).integers(2**32))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        found = []
        rows = None if region is None or task.slot == NO_SLOT else region.slot(task.slot)
        for row, key in enumerate(orders[place][task.number].tolist()):
            now[0] = key
            if rows is None:
                found.append(batches.one(task.epoch, key))
            else:
                found.append(batches.data.fill(key, sample_rng(batches.seed, task.epoch, key), rows[row]))
        return found if rows is not None else batches.collate(found)
    except Exception as error:
        return Failure(portable(error), traceback.format_exc(), int(now[0]))
    finally:
        now[0] = IDLE


def portable(error: Exception) -> Exception | None:
    """The error itself where it survives pickling, else None."""
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return None
    return error


def forget_signals() -> None:
    """Takes the handlers off that a fork copies: a worker must save no checkpoint. Ctrl-C is the reader's to act on."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
