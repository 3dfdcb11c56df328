"""Workers: a pool of processes that reads and decodes samples, in order.

Each worker reads whole batches, in turn. The pool reads the pictures of
task=images, and samples of any data set that defines `fill(index, rng, out)`.
They are written straight into the memory of a batch. All processes share it; it
is pinned on CUDA (where CUDA refuses, a warning says so, and copies are waited
for), and used again as soon as no one holds the batch. Samples of other data
sets are collated and handed over in shared memory, batch by batch.

A worker may die (out of memory, a crash in a decoder), or hang for longer than
`timeout` and be killed. It is then named with the sample that it read, and
replaced once: the batch is read again, in the same order.

Helps   data that takes long to read or decode, in Python too: processes share
        no lock.
Hurts   small samples: handing a batch over costs about a millisecond. Tensors
        in memory (a TensorDataset) are indexed by this process, which is
        faster.
Costs   a process and its memory for each worker, and prefetch_factor batches of
        shared memory each. A start takes tens of milliseconds, seconds if
        processes are spawned.
Source  torch.utils.data.DataLoader, whose workers these replace: they outlast
        an epoch (persistent_workers), serve evaluation too, and fail by name.
Exact   The same batches in the same order for any number of workers. A resumed
        run asks for the batch after the one consumed, and reads none before it.
        Random numbers that a data set draws are those of the sample, whoever
        reads it, so a resumed run may read with workers or without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.autotune import BESIDE, Rates, best_count, describe_rates, fewer_readers, measure_rates, process_rate
from accel.data.loaders.worker_pool import WorkerPool
from accel.parts import Loader
from accel.system.cpu.local_ranks import RANK_CORES
from accel.values import Count, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["MAX_AUTO_WORKERS", "Workers"]

MAX_AUTO_WORKERS = 8
"""Most workers that `auto` takes: more of them share the memory's bandwidth, and take long to start."""


@dataclass(eq=False)
class Workers(Loader):
    """Loader that reads in processes.

    Args:
        count: processes; auto is one for each core of the rank, at most 8, or the fastest number, measured in a long run.
        prefetch_factor: batches that each worker reads ahead.
        timeout: seconds to wait for one batch before its worker counts as hanging, and is killed; null waits forever.
        start: start method of a process (fork, spawn, forkserver); null forks where the platform can, and else spawns.
    """

    count: Count | Literal["auto"] = "auto"
    prefetch_factor: Count = 2
    timeout: Positive | None = 120.0
    start: Literal["fork", "spawn", "forkserver"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.workers: WorkerPool | None = None
        self.datasets: list[MapBatches] = []

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.pin = run.device.type == "cuda"
        self.datasets = []
        self.rates: Rates = {}
        self.note = ""
        self.epochs = 0 if run.dry_run or self.start not in (None, "fork") else run.epochs
        self.reader_count = min(RANK_CORES.count(), MAX_AUTO_WORKERS) if self.count == "auto" else self.count

    def open(self, data: Any, train: bool) -> Batches:
        batches = super().open(data, train)
        if isinstance(batches, MapBatches) and not batches.in_memory:
            if self.count == "auto" and not self.datasets:
                self.rates = measure_rates(batches, self.epochs, process_rate)
                self.reader_count = best_count(self.rates) if self.rates else self.reader_count
            self.datasets.append(batches)
        return batches

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        if batches not in self.datasets:
            return batches.epoch(epoch, start)
        if self.workers is None:  # by now all data sets are open, so that one start of processes serves them all
            self.workers = WorkerPool(self.datasets, self.reader_count, self.prefetch_factor, self.timeout, self.start, self.pin)
        return self.workers.batches(self.datasets.index(batches), epoch, start)

    def reader_choices(self) -> list[int]:
        may_choose = self.datasets and self.count == "auto" and self.start in (None, "fork")  # spawned ones take seconds to start
        return fewer_readers(self.reader_count) if may_choose else []

    def set_readers(self, count: int) -> None:
        self.note = f"{count}, {BESIDE}"
        if count != self.reader_count:
            self.close()
            self.reader_count = count

    def set_depth(self, depth: int) -> None:
        if depth != self.prefetch_factor:
            self.close()
            self.prefetch_factor = depth

    def identity(self) -> None:
        """Return None: a resumed run may have another number of workers, or none."""

    def plan_notes(self) -> Mapping[str, str]:
        if not self.datasets or self.count != "auto":
            return {}
        if self.note or self.rates:
            return {"workers": self.note or describe_rates(self.rates)}
        return {"workers": f"{self.reader_count} = {RANK_CORES.describe()}, at most {MAX_AUTO_WORKERS}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.datasets:
            return []
        return ["workers has no effect: the data is in memory, or comes in its own order or in ready batches; it is read here"]

    def close(self) -> None:
        if self.workers is not None:
            self.workers.close()
            self.workers = None
