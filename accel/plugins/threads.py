"""Threads: a pool of threads that reads and decodes samples into reused memory.

The pool reads the pictures of task=images, and samples of any data set that
defines `fill(index, rng, out)`. They are written side by side into a ring of
batches. Its memory is pinned on CUDA, and used again as soon as no one holds
the batch: nothing is collated, copied or allocated. For a training loop of your
own: `accel.data.Ring`.

Helps   data whose reading and decoding releases the GIL (Pillow, OpenCV, numpy,
        files, sockets): all cores, one process, no batch to hand over.
Hurts   data that computes in Python, whose threads take turns: use workers.
        Tensors in memory (a TensorDataset) are indexed at once, which is
        faster.
Costs   the memory of depth + 2 batches, and of each that is held longer, such
        as those of a window of accumulate.
Source  the ring of batches is FFCV's, arXiv 2306.12517.
Exact   The same batches in the same order for any number of threads, measured
        or not. A resumed run reads from the batch after the one consumed. Data
        that draws from random generators which the process shares is read by
        the main thread, one sample after the other, with a warning: no thread
        has such a generator to itself. The workers plugin reads it side by
        side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.autotune import BESIDE, Rates, best_count, describe_rates, fewer_readers, measure_rates, thread_rate
from accel.data.loaders.ring import Ring
from accel.data.loaders.thread_pool import ThreadPool
from accel.parts import Loader
from accel.system.cpu.local_ranks import RANK_CORES
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Threads"]


@dataclass(eq=False)
class Threads(Loader):
    """Loader that reads in threads.

    Args:
        count: threads; auto is one for each core of the rank, or the fastest number, measured in a run that reads for long.
        depth: batches read ahead.
    """

    count: Count | Literal["auto"] = "auto"
    depth: Count = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pool: ThreadPool | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.pin = run.device.type == "cuda"
        self.reader_count = RANK_CORES.count() if self.count == "auto" else self.count
        self.rates: Rates = {}
        self.note = ""
        self.epochs = 0 if run.dry_run else run.epochs
        self.rings: dict[Batches, Ring] = {}

    def open(self, data: Any, train: bool) -> Batches:
        batches = super().open(data, train)
        if isinstance(batches, MapBatches) and not batches.in_memory:
            if self.count == "auto" and self.pool is None:
                self.rates = measure_rates(batches, self.epochs, thread_rate)
                self.reader_count = best_count(self.rates) if self.rates else self.reader_count
            self.pool = self.pool or ThreadPool(self.reader_count)
            self.rings[batches] = Ring.from_batches(batches, self.pool, self.depth, self.pin)
        return batches

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        return self.rings[batches].epoch(epoch, start) if batches in self.rings else batches.epoch(epoch, start)

    def reader_choices(self) -> list[int]:
        return fewer_readers(self.reader_count) if self.rings and self.count == "auto" else []

    def set_readers(self, count: int) -> None:
        self.note = f"{count}, {BESIDE}"
        if self.pool is not None and count != self.reader_count:
            self.pool.close()
            self.reader_count, self.pool = count, ThreadPool(count)
            for ring in self.rings.values():
                ring.threads = self.pool

    def set_depth(self, depth: int) -> None:
        self.depth = depth
        for ring in self.rings.values():
            ring.depth = depth

    def identity(self) -> None:
        """Return None: a resumed run may have another number of threads, or none."""

    def plan_notes(self) -> Mapping[str, str]:
        count = describe_rates(self.rates) if self.rates else f"{self.reader_count} = {RANK_CORES.describe()}"
        notes = {"readers": self.note or count} if self.rings and self.count == "auto" else {}
        slots = next((ring.pool for ring in self.rings.values() if ring.pool), None)
        if slots:
            kind = "pinned memory" if self.pin else "memory"
            notes["ring"] = f"{self.depth + 2} batches of {slots.bytes / 2**20:.2g} MB in {kind}"
        return notes

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.rings:
            return []
        return ["threads has no effect: the data is in memory, or comes in its own order or in ready batches; it is read here"]

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None
