"""Worker process: it reads the batches of its tasks, and sends them back."""

from __future__ import annotations

import multiprocessing as mp
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

from accel.data.batches.assembly import BatchAssembly, InPlaceAssembly
from accel.data.batches.bad_samples import UnreadableSample
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.shared_buffers import Region
from accel.data.randomness.tripwire import reading_ahead

__all__ = [
    "IDLE",
    "NO_SLOT",
    "Answer",
    "Failure",
    "LazyKeys",
    "Task",
    "make_assembly",
    "picklable",
    "read_batch",
    "reset_signal_handlers",
    "serve",
]

IDLE = -1
"""The sample that a process is reading while it reads none."""

NO_SLOT = -1
"""The slot of a batch that is sent as a whole."""


class Task(NamedTuple):
    """One batch to read. A position and no samples, so that a task is small and the pipe never fills up with tasks."""

    generation: int
    """Of the reader: a task of an earlier generation is wanted no longer."""
    dataset: int
    """The position of the data set."""
    epoch: int
    number: int
    """Of the batch, from 0."""
    slot: int = NO_SLOT
    """The memory that its samples are written into."""


class LazyKeys(Sequence[int]):
    """Numbers of the samples of a task, which only an error asks for.

    Args:
        batches: of the data set.
        task: the task.
    """

    def __init__(self, batches: MapBatches, task: Task) -> None:
        self.batches, self.task = batches, task

    def __getitem__(self, place: Any) -> Any:
        return next(self.batches.batches_of_indices(self.task.epoch, self.task.number)).tolist()[place]

    def __len__(self) -> int:
        return self.batches.batch_size


class Answer(NamedTuple):
    """Result of a task."""

    task: Task
    batch: Any
    """The batch; the labels of its rows if it is written into a slot; a Failure if the data set raised; MISSING if nothing is left.

    None if it was wanted no longer, and not read.
    """
    bad: list[UnreadableSample]
    """The samples that could not be read."""
    samples: int
    seconds: float
    """Of reading the samples."""


class Failure(NamedTuple):
    """Error of a data set."""

    error: BaseException | None
    """None if it cannot be pickled."""
    text: str
    """Its traceback."""
    sample: int


def serve(
    pipe: Connection,
    data: Sequence[MapBatches],
    regions: Sequence[Region | None],
    progress: Tensor,
    index: int,
    inherited: Sequence[Connection],
) -> None:
    """Send an Answer for each task of `pipe`, until the task is None or the process that started this one is gone.

    An answer is the last thing that is done for a task: its memory belongs to the reader again.

    Args:
        pipe: to the reader.
        data: the data sets.
        regions: the slots of each, if it writes into given memory.
        progress: (1 + workers,) int64 in shared memory. The first is the reader's generation; at `index` this process writes the
            number of the sample that it is reading, for the error if it dies.
        index: its own in `progress`.
        inherited: the reader's ends of pipes, which a fork copies and which would keep them open.
    """
    for end in inherited:
        end.close()
    reset_signal_handlers()
    torch.set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)
    parent = mp.parent_process()
    assert parent is not None
    progress_array = progress.numpy()
    orders: dict[tuple[int, int], list[Tensor]] = {}
    with reading_ahead(False):  # nothing trains here, even if a thread that reads ahead has forked it
        while pipe in wait([pipe, parent.sentinel]):
            try:
                task: Task | None = pipe.recv()
                if task is None:
                    return
                answer = Answer(task, None, [], 0, 0.0)
                if task.generation == progress_array[0]:
                    answer = read_batch(data, regions, task, progress_array[index:], orders)
                pipe.send(answer)
            except (EOFError, ConnectionError):  # nobody is there to read it
                return


def read_batch(
    data: Sequence[MapBatches],
    regions: Sequence[Region | None],
    task: Task,
    current: NDArray[np.int64],
    orders: dict[tuple[int, int], list[Tensor]],
) -> Answer:
    """Return the answer to a task; while it is read, `current[0]` is the number of the sample.

    Args:
        data: the data sets.
        regions: the slots of each.
        task: the batch to read.
        current: (1 or more,) int64.
        orders: the order of the last epoch that was read, by data set and epoch.
    """
    batches, region, dataset_epoch = data[task.dataset], regions[task.dataset], (task.dataset, task.epoch)
    if dataset_epoch not in orders:
        orders.clear()
        orders[dataset_epoch] = list(batches.batches_of_indices(task.epoch))
    started = perf_counter()
    keys, bad = orders[dataset_epoch][task.number].tolist(), list[UnreadableSample]()

    def read() -> Any:
        assembly = make_assembly(batches, region, task, keys)
        bad[:] = ()
        try:
            for place in assembly.fill_slots(range(len(keys))):
                current[0] = keys[place]
            return assembly.finish()
        finally:
            bad.extend(assembly.bad)

    try:
        batch = batches.randomness.read(read, lambda: iter(()))
    except Exception as error:
        batch = Failure(picklable(error), traceback.format_exc(), int(current[0]))
    finally:
        current[0] = IDLE
    return Answer(task, batch, bad, len(keys), perf_counter() - started)


def make_assembly(batches: MapBatches, region: Region | None, task: Task, keys: list[int]) -> BatchAssembly:
    """Return the assembly of the batch of a task: in its slot, if it has one."""
    if region is None or task.slot == NO_SLOT:
        return BatchAssembly(batches, task.epoch, keys)
    return InPlaceAssembly(batches, task.epoch, keys, region.slot(task.slot))


def picklable(error: Exception) -> Exception | None:
    """Return the error itself if it survives pickling, else None."""
    from multiprocessing.reduction import ForkingPickler

    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return None
    return error


def reset_signal_handlers() -> None:
    """Reset the signal handlers that a fork copies: a worker must save no checkpoint. Ctrl-C is the reader's to act on."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
