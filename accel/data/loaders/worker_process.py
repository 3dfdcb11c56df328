"""What a worker process does: it reads the batches that it is asked for, and hands them over."""

from __future__ import annotations

import multiprocessing as mp
import random
import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accel.data.batches.bad_samples import UnreadableSample
from accel.data.batches.mapped import BatchAssembly, InPlaceAssembly, MapBatches
from accel.data.loaders.shared_buffers import Region
from accel.data.sampling import batch_rng

__all__ = ["IDLE", "NO_SLOT", "Answer", "Failure", "Task", "begun", "forget_signals", "portable", "read", "work"]

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


class Answer(NamedTuple):
    """What came of a task."""

    task: Task
    batch: Any
    """Of one that is written into a slot, the labels of the rows from the first on; a Failure where the data set raised; GONE where
    nothing is left of it; None where it was wanted no longer, and not read."""
    bad: list[UnreadableSample]
    """The samples that could not be read."""
    samples: int
    seconds: float
    """That reading them took."""


class Failure(NamedTuple):
    """What a data set raised."""

    error: BaseException | None
    """None where it cannot be pickled."""
    text: str
    """Its traceback."""
    sample: int


def work(
    pipe: Connection,
    data: Sequence[MapBatches],
    regions: Sequence[Region | None],
    board: Tensor,
    place: int,
    inherited: Sequence[Connection],
) -> None:
    """Answers the tasks of `pipe`, an Answer each, until it is told to stop or the process that began it is gone.

    An answer is the last thing that is done for a task: the memory that it was written into is the reader's again.

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
            answer = Answer(task, None, [], 0, 0.0)
            if task.turn == numbers[0]:
                answer = read(data, regions, task, numbers[place:], orders)
            pipe.send(answer)
        except (EOFError, ConnectionError):  # nobody is there to read it
            return


def read(
    data: Sequence[MapBatches],
    regions: Sequence[Region | None],
    task: Task,
    now: NDArray[np.int64],
    orders: dict[tuple[int, int], list[Tensor]],
) -> Answer:
    """Reads the batch of a task; `now[0]` is the sample being read.

    Global random numbers are a function of (seed, epoch, batch over all ranks) here.
    """
    batches, region, pass_ = data[task.which], regions[task.which], (task.which, task.epoch)
    if pass_ not in orders:
        orders.clear()
        orders[pass_] = list(batches.batches_of_indices(task.epoch))
    share = batches.share
    seed = int(batch_rng(batches.seed, task.epoch, task.number * share.ranks + share.rank).integers(2**32))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    since = perf_counter()
    keys, bad = orders[pass_][task.number].tolist(), list[UnreadableSample]()
    try:
        work = begun(batches, region, task, keys)
        bad = work.bad
        places = () if work.read_all() else range(len(keys))
        for place in places:
            now[0] = keys[place]
            work.fill_slot(place)
        batch = work.finish()
    except Exception as error:
        batch = Failure(portable(error), traceback.format_exc(), int(now[0]))
    finally:
        now[0] = IDLE
    return Answer(task, batch, bad, len(keys), perf_counter() - since)


def begun(batches: MapBatches, region: Region | None, task: Task, keys: list[int]) -> BatchAssembly:
    """The batch of a task, to be read: into its slot, where it has one."""
    if region is None or task.slot == NO_SLOT:
        return BatchAssembly(batches, task.epoch, keys)
    return InPlaceAssembly(batches, task.epoch, keys, region.slot(task.slot))


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
