"""Worker process, as the reader of its batches sees it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from torch import Tensor

from accel.data.loaders.worker_process import Task

__all__ = ["GRACE", "Worker", "WorkerDied", "WorkerTimeout", "exit_cause"]

GRACE = 2.0
"""Seconds that a worker gets to end by itself."""


@dataclass
class Worker:
    """Worker process, and the reader's end of its pipe."""

    process: BaseProcess
    pipe: Connection
    index: int
    """Its index in the shared progress, where it writes the sample that it is reading."""
    buffers: dict[Task, Tensor] = field(default_factory=dict)
    """The memory that it may be writing into: nobody else's until it has answered, or is gone."""

    def kill(self) -> None:
        """End the process at once: one that hangs reacts to nothing else."""
        self.process.kill()
        self.process.join()

    def end(self, grace: float = GRACE) -> None:
        """End the process, which gets `grace` seconds to end by itself, and release its pipe and memory."""
        self.process.join(grace)
        if self.process.exitcode is None:
            self.process.terminate()
            self.process.join(GRACE)
        if self.process.exitcode is None:
            self.kill()
        self.pipe.close()
        self.process.close()
        self.buffers = {}


class WorkerDied(Exception):
    """A worker has ended."""


class WorkerTimeout(WorkerDied):
    """A worker gave no answer in time, and was killed."""


def exit_cause(code: int) -> str:
    """Return in words how a process ended, by its exit code."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
