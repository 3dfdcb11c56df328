"""Pool of worker processes that read batches in order; one that dies is replaced, and the error names its sample."""

from __future__ import annotations

import multiprocessing as mp
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext, ForkContext
from time import monotonic
from typing import Any

import torch
import torch.multiprocessing  # how tensors travel: in shared memory

from accel.data.batches.bad_samples import MISSING
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.buffer_pool import batch_of, buffer_pool_of
from accel.data.loaders.shared_buffers import SharedBufferPool
from accel.data.loaders.worker import GRACE, Worker, WorkerDied, WorkerTimeout, exit_cause
from accel.data.loaders.worker_process import IDLE, Answer, Failure, LazyKeys, Task, serve
from accel.errors import ConfigError, TrainingError
from accel.system.call_stack import warn_user

__all__ = ["WorkerPool", "describe_position"]


class WorkerPool:
    """Fixed number of processes that read any of several data sets, batch `number` by worker `number` modulo their count.

    Not torch's DataLoader: that raises a worker's death wherever the main thread happens to be, in the middle of an update too.
    It names neither batch nor sample, and ends the run. Here a new worker reads the batch of a dead one again, once. A worker
    that hangs is killed, and counts as dead.

    A data set that writes its samples into given memory (`fill`) writes them straight into the batch. All processes share that
    memory, and it is used again as soon as nobody holds the batch (`accel.data.loaders.buffer_pool`).
    Samples that a dead process has half written are no part of a batch. Its memory is used again only when the process is gone.

    Args:
        data: the data sets; a batch is requested by its position.
        count: processes.
        prefetch: batches that each worker reads ahead.
        timeout: seconds to wait for one batch before its worker counts as hanging; None waits forever.
        start: the start method of a process: fork, spawn or forkserver; None is fork where there is one, else the platform's own.
        pin: whether a CUDA device may read the memory of batches while the host goes on.
    """

    def __init__(
        self,
        data: Sequence[MapBatches],
        count: int,
        prefetch: int,
        timeout: float | None,
        start: str | None = None,
        pin: bool = False,
    ) -> None:
        self.data, self.prefetch, self.timeout = data, prefetch, timeout
        self.pools = [buffer_pool_of(batches, pin, SharedBufferPool) for batches in data]
        self.context: BaseContext = mp.get_context(start or ("fork" if "fork" in mp.get_all_start_methods() else None))
        self.progress = torch.full((1 + count,), IDLE).share_memory_()  # type: ignore[no-untyped-call]
        self.progress_array = self.progress.numpy()
        self.workers: list[Worker] = []
        try:
            for index in range(1, 1 + count):
                self.workers.append(self.start_worker(index))
        except BaseException:
            self.close()
            raise

    @property
    def generation(self) -> int:
        """Number of epochs begun and ended; tasks of an earlier generation are not read any longer."""
        return int(self.progress_array[0])

    def start_worker(self, index: int) -> Worker:
        """Return a new worker, which writes its progress at `index`.

        Raises:
            ConfigError: if the data cannot be pickled for a process that is not forked.
        """
        receiver, sender = self.context.Pipe()
        self.progress_array[index] = IDLE
        forked = isinstance(self.context, ForkContext)
        regions = [None if pool is None else pool.region for pool in self.pools]
        inherited = [receiver, *(worker.pipe for worker in self.workers)] if forked else []
        process = self.context.Process(  # type: ignore[attr-defined]
            target=serve, args=(sender, self.data, regions, self.progress, index, inherited), name="accel-worker", daemon=True
        )
        try:
            process.start()
        except Exception as error:
            receiver.close()
            if forked or isinstance(error, OSError):
                raise
            raise ConfigError(
                f"workers: the data cannot be sent to a worker process that is not forked ({error}); define its classes and "
                "functions at the top of a module"
            ) from error
        finally:
            sender.close()
        return Worker(process, receiver, index)

    def batches(self, dataset: int, epoch: int, start: int) -> Iterator[Any]:
        """Yield the batches of one epoch from number `start` on, in order. If two such iterators take turns, each requests anew.

        Raises:
            TrainingError: if a worker dies or hangs over a batch for the second time.
        """
        count = self.data[dataset].count
        assert count is not None
        generation, tasks = None, deque[Task]()
        try:
            for number in range(start, count):
                if generation != self.generation:
                    self.progress_array[0] += 1
                    generation = self.generation
                    tasks.clear()
                for upcoming in range(number + len(tasks), min(number + self.prefetch * len(self.workers), count)):
                    tasks.append(self.request(generation, dataset, epoch, upcoming))
                batch = [self.receive(tasks)]
                tasks.popleft()
                if batch[0] is not MISSING:
                    yield batch.pop()  # while the next one is waited for, it is whose it was handed to
        finally:
            if generation == self.generation:
                self.progress_array[0] += 1  # what was asked for is wanted no longer

    def request(self, generation: int, dataset: int, epoch: int, number: int) -> Task:
        """Send the task for a batch, with memory where the batch is written into that; return the task."""
        worker, pool, task = self.workers[number % len(self.workers)], self.pools[dataset], Task(generation, dataset, epoch, number)
        if pool is not None:
            out = pool.borrow(pool.shape[0])  # as many of its rows as come to be written are the batch
            task = task._replace(slot=pool.slot_number(out))
            worker.buffers[task] = out
        self.send(task, worker)
        return task

    def send(self, task: Task, worker: Worker) -> None:
        """Send a task to a worker; that the worker is dead shows when its batch is due."""
        with suppress(ConnectionError):
            worker.pipe.send(task)

    def receive(self, tasks: Sequence[Task]) -> Any:
        """Return the batch of the first task, as soon as it is there. Its worker may die or hang over it once.

        Raises:
            TrainingError: if it does for the second time.
        """
        task = tasks[0]
        index = task.number % len(self.workers)
        worker = self.workers[index]
        try:
            return self.wait_for(task, worker)
        except WorkerDied as death:
            warn_user(f"workers: {death}; begun anew, the order stays", again=True, local=True)
        buffers = worker.buffers
        worker.end(0)
        worker = self.workers[index] = self.start_worker(worker.index)
        for owed in tasks:
            if owed.number % len(self.workers) == index:
                if owed in buffers:
                    worker.buffers[owed] = buffers[owed]
                self.send(owed, worker)
        del buffers
        try:
            return self.wait_for(task, worker)
        except WorkerTimeout as error:
            raise TrainingError(
                f"workers: {error}, for the second time; where that is not too long for one batch, set plugins.workers.timeout=null"
            ) from None
        except WorkerDied as error:
            raise TrainingError(
                f"workers: {error}, for the second time; read that sample without workers to see why: '~plugins.workers'"
            ) from None

    def wait_for(self, task: Task, worker: Worker) -> Any:
        """Return the worker's answer to `task`.

        Raises:
            Exception: the error of the data set.
            WorkerDied: if the worker has ended.
            WorkerTimeout: if there is no answer after `timeout` seconds.
        """
        while True:
            ready = wait([worker.pipe, worker.process.sentinel], self.timeout)
            if not ready:
                position = self.describe_work(task, worker)
                worker.kill()
                raise WorkerTimeout(f"a worker gave no answer for {self.timeout:g} seconds over {position}")
            try:
                if worker.pipe not in ready:
                    raise EOFError
                answer: Answer = worker.pipe.recv()
            except (EOFError, OSError) as error:
                worker.process.join(GRACE)
                if worker.process.exitcode is None:
                    raise
                raise WorkerDied(
                    f"a worker {exit_cause(worker.process.exitcode)} over {self.describe_work(task, worker)}"
                ) from error
            out = worker.buffers.pop(answer.task, None)
            if answer.task != task:  # of an earlier generation
                continue
            self.data[task.dataset].meter.add(answer.samples, answer.seconds / len(self.workers))
            self.data[task.dataset].bad_sample_log.add(answer.bad)
            batch = answer.batch
            if isinstance(batch, Failure):
                raised = batch.error or RuntimeError(batch.text.strip().rpartition("\n")[2])
                raised.add_note(f"workers: raised over {describe_position(task, batch.sample)}, in a worker process:\n{batch.text}")
                raise raised
            return batch if out is None or batch is MISSING else batch_of(out, batch, LazyKeys(self.data[task.dataset], task))

    def describe_work(self, task: Task, worker: Worker) -> str:
        """Return in words the sample or batch that a worker was reading."""
        return describe_position(task, int(self.progress_array[worker.index]))

    def close(self) -> None:
        """End every process."""
        self.progress_array[0] += 1
        for worker in self.workers:
            with suppress(OSError):
                worker.pipe.send(None)
        deadline = monotonic() + GRACE
        for worker in self.workers:
            worker.end(max(0.0, deadline - monotonic()))
        self.workers = []


def describe_position(task: Task, sample: int) -> str:
    """Return a place in the data, in words."""
    batch = f"batch {task.number + 1} of epoch {task.epoch + 1}"
    return batch if sample == IDLE else f"sample {sample} ({batch})"
