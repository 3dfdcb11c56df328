"""Prefetch: reading ahead: a thread reads the next batches during the update.

It is DataLoaderX as a part of the run, by the package prefetch_generator. Its
thread ends when the run does, holds `depth` batches and no more, and hands
every error on. For a training loop of your own: `accel.data.DataLoaderX`.

Helps   data that is read and decoded by this process, with code that releases
        the GIL (Pillow, OpenCV, numpy, files), while the update computes.
        Evaluation is read ahead in the same way.
Hurts   data that computes in Python: thread and update take turns. With the
        loaders `workers` and `threads`, or a DataLoader that has workers, there
        is next to nothing left to win.
Costs   `depth` batches of host memory; a few tens of microseconds a batch.
Source  https://pypi.org/project/prefetch-generator
Exact   The same batches in the same order; a resumed run goes on after the
        batch that was consumed. Data that draws from random generators which
        the training shares is read when its turn comes, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar
from weakref import ref

from accel.parts import Prefetch as PrefetchPart
from accel.system.machine import Need
from accel.values import Count

__all__ = ["Prefetch"]


@dataclass(eq=False)
class Prefetch(PrefetchPart):
    """Thread that reads batches ahead.

    Args:
        depth: batches read ahead.
    """

    needs: ClassVar[tuple[Need, ...]] = (Need("package:prefetch_generator", extra="prefetch"),)

    depth: Count = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reader: Callable[[], Any] = lambda: None
        self.turn = Lock()
        """Held by the thread while it reads."""

    def ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        from accel.data.loaders.read_ahead import read_ahead

        reader = read_ahead(batches, self.depth, self.name, self.turn)
        self.reader = ref(reader)  # weakly: the thread ends with the loop that reads from it
        return reader

    def set_depth(self, depth: int) -> None:
        self.depth = depth

    @contextmanager
    def paused(self) -> Iterator[None]:
        turn, reader = self.turn, self.reader
        with turn:
            self.turn = Lock()  # of those that read meanwhile
            try:
                yield
            finally:
                self.turn, self.reader = turn, reader

    def close(self) -> None:
        reader = self.reader()
        if reader is not None:  # the traceback of an error still holds it
            reader.close()
