"""Worker processes that read batches in order, are replaced where one dies, and say what they died of."""

from __future__ import annotations

import multiprocessing as mp
import signal
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext, ForkContext
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

import torch
import torch.multiprocessing  # how tensors travel: in shared memory
from torch import Tensor

from accel.data.batches.bad_samples import MISSING
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.buffer_pool import batch_of, buffer_pool_of
from accel.data.loaders.shared_buffers import SharedBufferPool
from accel.data.loaders.worker_process import IDLE, Answer, Failure, Task, work
from accel.errors import AccelWarning, ConfigError, TrainingError

__all__ = ["GRACE", "Worker", "WorkerDied", "WorkerPool", "WorkerTimeout", "cause", "where"]

GRACE = 2.0
"""Seconds that a worker is given to end by itself."""


@dataclass
class Worker:
    """One process and the reader's end of its pipe."""

    process: BaseProcess
    pipe: Connection
    place: int
    """On the board: where it writes which sample it is reading."""
    lent: dict[Task, Tensor] = field(default_factory=dict)
    """The memory that it may be writing into: nobody else's until it has answered, or is gone."""

    def kill(self) -> None:
        """Ends the process at once: one that hangs hears nothing else."""
        self.process.kill()
        self.process.join()

    def end(self, grace: float = GRACE) -> None:
        """Ends the process, whatever it is doing, and gives everything back."""
        self.process.join(grace)
        if self.process.exitcode is None:
            self.process.terminate()
            self.process.join(GRACE)
        if self.process.exitcode is None:
            self.kill()
        self.pipe.close()
        self.process.close()
        self.lent = {}


class WorkerPool:
    """A fixed number of processes that read any of several data sets, batch `number` by worker `number` modulo their count.

    Not torch's DataLoader: that raises a worker's death wherever the main thread happens to be, in the middle of an update too,
    names neither batch nor sample, and ends the run. Here the batch that a dead worker owed is read again by a new one, once; one
    that hangs is killed, and counts as dead.

    A data set that writes its samples into given memory (`fill`) writes them straight into the batch, over memory that all
    processes share, and that is used again as soon as nobody holds the batch (`accel.data.loaders.buffer_pool`).
    What a process that died has half written is no part of any batch that was handed over, and goes to nobody before that
    process is gone.

    Args:
        data: the data sets; a batch is asked for by its position.
        count: processes.
        ahead: batches that each worker reads ahead.
        timeout: seconds to wait for one batch before its worker counts as hanging; None waits forever.
        start: how a process begins: fork, spawn or forkserver; None is fork where there is one, and else the platform's own.
        pin: whether a CUDA device shall read the memory of batches while the host goes on.
    """

    def __init__(
        self, data: Sequence[MapBatches], count: int, ahead: int, timeout: float | None, start: str | None = None, pin: bool = False
    ) -> None:
        self.data, self.ahead, self.timeout = data, ahead, timeout
        self.slots = [buffer_pool_of(batches, pin, SharedBufferPool) for batches in data]
        self.context: BaseContext = mp.get_context(start or ("fork" if "fork" in mp.get_all_start_methods() else None))
        self.board = torch.full((1 + count,), IDLE).share_memory_()  # type: ignore[no-untyped-call]
        self.numbers = self.board.numpy()
        self.workers: list[Worker] = []
        try:
            for place in range(1, 1 + count):
                self.workers.append(self.begin(place))
        except BaseException:
            self.close()
            raise

    @property
    def generation(self) -> int:
        """Counts the epochs begun and ended: what was asked for in an earlier turn is not read any longer."""
        return int(self.numbers[0])

    def begin(self, place: int) -> Worker:
        """A new process."""
        ours, theirs = self.context.Pipe()
        self.numbers[place] = IDLE
        forked = isinstance(self.context, ForkContext)
        regions = [None if slots is None else slots.region for slots in self.slots]
        inherited = [ours, *(worker.pipe for worker in self.workers)] if forked else []
        process = self.context.Process(  # type: ignore[attr-defined]
            target=work, args=(theirs, self.data, regions, self.board, place, inherited), name="accel-worker", daemon=True
        )
        try:
            process.start()
        except Exception as error:
            ours.close()
            if forked or isinstance(error, OSError):
                raise
            raise ConfigError(
                f"workers: the data cannot be sent to a worker process that is not forked ({error}); define its classes and "
                "functions at the top of a module"
            ) from error
        finally:
            theirs.close()
        return Worker(process, ours, place)

    def batches(self, which: int, epoch: int, start: int) -> Iterator[Any]:
        """The batches of one epoch from number `start` on, in order. Where two such iterators take turns, each asks anew."""
        count = self.data[which].count
        assert count is not None
        turn, asked = None, deque[Task]()
        try:
            for number in range(start, count):
                if turn != self.generation:
                    self.numbers[0] += 1
                    turn = self.generation
                    asked.clear()
                for coming in range(number + len(asked), min(number + self.ahead * len(self.workers), count)):
                    asked.append(self.ask(turn, which, epoch, coming))
                batch = [self.take(asked)]
                asked.popleft()
                if batch[0] is not MISSING:
                    yield batch.pop()  # while the next one is waited for, it is whose it was handed to
        finally:
            if turn == self.generation:
                self.numbers[0] += 1  # what was asked for is wanted no longer

    def ask(self, turn: int, which: int, epoch: int, number: int) -> Task:
        """Asks for a batch, with memory for it where it is written into that."""
        worker, slots, task = self.workers[number % len(self.workers)], self.slots[which], Task(turn, which, epoch, number)
        if slots is not None:
            out = slots.borrow(slots.shape[0])  # as many of its rows as come to be written are the batch
            task = task._replace(slot=slots.number(out))
            worker.lent[task] = out
        self.send(task, worker)
        return task

    def send(self, task: Task, worker: Worker) -> None:
        """Gives a task to a worker; one that is dead is found out when its batch is due."""
        with suppress(ConnectionError):
            worker.pipe.send(task)

    def take(self, asked: Sequence[Task]) -> Any:
        """The batch of the first of the tasks, as soon as it is there. The worker may die or hang over it once."""
        task = asked[0]
        index = task.number % len(self.workers)
        worker = self.workers[index]
        try:
            return self.answer(task, worker)
        except WorkerDied as first:
            warnings.warn(f"workers: {first}; begun anew, the order stays", AccelWarning, stacklevel=4)
        lent = worker.lent
        worker.end(0)
        worker = self.workers[index] = self.begin(worker.place)
        for owed in asked:
            if owed.number % len(self.workers) == index:
                if owed in lent:
                    worker.lent[owed] = lent[owed]
                self.send(owed, worker)
        del lent
        try:
            return self.answer(task, worker)
        except WorkerTimeout as again:
            raise TrainingError(
                f"workers: {again}, for the second time; where that is not too long for one batch, set plugins.workers.timeout=null"
            ) from None
        except WorkerDied as again:
            raise TrainingError(
                f"workers: {again}, for the second time; read that sample without workers to see why: '~plugins.workers'"
            ) from None

    def answer(self, task: Task, worker: Worker) -> Any:
        """Waits for the worker's answer to `task`. Raises Died, what the data set raised, or, after `timeout`, Hung."""
        while True:
            ready = wait([worker.pipe, worker.process.sentinel], self.timeout)
            if not ready:
                what = self.what(task, worker)
                worker.kill()
                raise WorkerTimeout(f"a worker gave no answer for {self.timeout:g} seconds over {what}")
            try:
                if worker.pipe not in ready:
                    raise EOFError
                found: Answer = worker.pipe.recv()
            except (EOFError, OSError) as error:
                worker.process.join(GRACE)
                if worker.process.exitcode is None:
                    raise
                raise WorkerDied(f"a worker {cause(worker.process.exitcode)} over {self.what(task, worker)}") from error
            out = worker.lent.pop(found.task, None)
            if found.task != task:  # of an earlier turn
                continue
            self.data[task.which].meter.add(found.samples, found.seconds / len(self.workers))
            self.data[task.which].bad_sample_log.note(found.bad)
            batch = found.batch
            if isinstance(batch, Failure):
                raised = batch.error or RuntimeError(batch.text.strip().rpartition("\n")[2])
                raised.add_note(f"workers: raised over {where(task, batch.sample)}, in a worker process:\n{batch.text}")
                raise raised
            return batch if out is None or batch is MISSING else batch_of(out, batch)

    def what(self, task: Task, worker: Worker) -> str:
        """What a worker was doing, in words."""
        return where(task, int(self.numbers[worker.place]))

    def close(self) -> None:
        """Ends every process."""
        self.numbers[0] += 1
        for worker in self.workers:
            with suppress(OSError):
                worker.pipe.send(None)
        until = monotonic() + GRACE
        for worker in self.workers:
            worker.end(max(0.0, until - monotonic()))
        self.workers = []


class WorkerDied(Exception):
    """A worker is gone."""


class WorkerTimeout(WorkerDied):
    """It gave no answer, and was killed for it."""


def where(task: Task, sample: int) -> str:
    """A place in the data, in words."""
    batch = f"batch {task.number + 1} of epoch {task.epoch + 1}"
    return batch if sample == IDLE else f"sample {sample} ({batch})"


def cause(code: int) -> str:
    """How a process ended, in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
