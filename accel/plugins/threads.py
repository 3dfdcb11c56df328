"""Threads: a pool of threads reads and decodes into a ring of batches.

The pictures of task=images, and samples of any data set that defines
`fill(index, rng, out)`, are written side by side into the memory of a batch,
which is pinned on CUDA, and used again as soon as nobody holds the batch:
nothing is collated, copied or allocated. For a training loop of one's own:
`accel.data.Ring`.

Helps   data whose reading and decoding releases the GIL (Pillow, OpenCV, numpy,
        files, sockets): all cores, one process, no batch to hand over.
Hurts   data that computes in Python: threads take turns, use workers. Tensors
        in memory (a TensorDataset) are indexed at once, which is faster.
Costs   the memory of depth + 2 batches, and of each that is held longer, such
        as those of a window of accumulate.
Source  the ring of batches is FFCV's, arXiv 2306.12517.
Exact   The same batches in the same order for any number of threads, measured
        or not; a resumed
        run reads from the batch after the one consumed. Data that draws from
        the global random numbers is read here, one sample after the other, with
        a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.autotune import Rates, best, describe, threads, tried
from accel.data.loaders.ring import Ring
from accel.data.loaders.thread_pool import ThreadPool as Pool
from accel.parts import Loader
from accel.system.machine import cores
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Threads"]


@dataclass(eq=False)
class Threads(Loader):
    """Reads in threads.

    Args:
        count: how many; auto is one for each core, or what is fastest, measured for a second where the run reads for long.
        depth: how many batches are read ahead.
    """

    count: Count | Literal["auto"] = "auto"
    depth: Count = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pool: Pool | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.pin = run.device.type == "cuda"
        self.number = cores() if self.count == "auto" else self.count
        self.rates: Rates = {}
        self.epochs = 0 if run.dry_run else run.epochs
        self.rings: dict[Batches, Ring] = {}

    def open(self, data: Any, train: bool) -> Batches:
        batches = super().open(data, train)
        if isinstance(batches, MapBatches) and not batches.in_memory:
            if self.count == "auto" and self.pool is None:
                self.rates = tried(batches, self.epochs, threads)
                self.number = best(self.rates) if self.rates else self.number
            self.pool = self.pool or Pool(self.number)
            self.rings[batches] = Ring.over(batches, self.pool, self.depth, self.pin)
        return batches

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        return self.rings[batches].epoch(epoch, start) if batches in self.rings else batches.epoch(epoch, start)

    def identity(self) -> None:
        """Nothing: a resumed run may have others, or none."""

    def plan_notes(self) -> Mapping[str, str]:
        said = describe(self.rates) if self.rates else f"{self.number} = one for each core"
        found = {"threads": said} if self.rings and self.count == "auto" else {}
        slots = next((ring.slots for ring in self.rings.values() if ring.slots), None)
        if slots:
            kind = "pinned memory" if self.pin else "memory"
            found["ring"] = f"{self.depth + 2} batches of {slots.bytes / 2**20:.2g} MB in {kind}"
        return found

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.rings:
            return []
        return ["threads has no effect: the data is in memory, or comes in its own order or in ready batches; it is read here"]

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()
            self.pool = None
