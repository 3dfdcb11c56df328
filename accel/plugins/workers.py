"""Workers: processes read and decode the samples, in order.

Each worker reads whole batches, one after the other in turn. The pictures of
task=images, and samples of any data set that defines `fill(index, rng, out)`,
are written straight into the batch: memory that all processes share, which is
pinned on CUDA, and used again as soon as nobody holds the batch. Others are
collated and handed over in shared memory, batch by batch. A worker that dies
(out of memory, a crash in a decoder), or hangs for longer than `timeout` and is
killed, is named with the sample that it read, and replaced once: the batch is
read again, in the same order.

Helps   data that takes long to read or decode, in Python too: a process each
        has no lock to share.
Hurts   small samples: to hand a batch over costs about a millisecond. Tensors
        in memory (a TensorDataset) are indexed by this process, which is
        faster.
Costs   a process and its memory each; prefetch_factor batches of shared memory
        each. A start takes tens of milliseconds, seconds where processes are
        spawned.
Source  torch.utils.data.DataLoader, whose workers these replace: they outlast
        an epoch (persistent_workers), serve evaluation too, and fail by name.
Exact   The same batches in the same order for any number of workers; a resumed
        run asks for the batch after the one consumed, and reads none before it.
        A data set that draws from the global random numbers has them seeded by
        (seed, epoch, batch) here: other ones than without workers, and the same
        for any number of them. One that defines sample(index, rng) draws its own,
        and a resumed run may read it with workers or without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.loaders.autotune import Rates, best, describe, processes, tried
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.parts import Loader
from accel.system.machine import cores
from accel.values import Count, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["MOST", "Workers"]

MOST = 8
"""What `auto` does not exceed: more workers than that share the memory's bandwidth, and take long to begin."""


@dataclass(eq=False)
class Workers(Loader):
    """Reads in processes.

    Args:
        count: how many; auto is one for each core and at most 8, or what is fastest, measured where the run reads for long.
        prefetch_factor: how many batches each of them reads ahead.
        timeout: seconds to wait for one batch before its worker counts as hanging, and is killed; null waits forever.
        start: how a process begins; null forks where the platform can, and else spawns.
    """

    count: Count | Literal["auto"] = "auto"
    prefetch_factor: Count = 2
    timeout: Positive | None = 120.0
    start: Literal["fork", "spawn", "forkserver"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.workers: Processes | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.pin = run.device.type == "cuda"
        self.data: list[MapBatches] = []
        self.rates: Rates = {}
        self.epochs = 0 if run.dry_run or self.start not in (None, "fork") else run.epochs
        self.number = min(cores(), MOST) if self.count == "auto" else self.count

    def open(self, data: Any, train: bool) -> Batches:
        batches = super().open(data, train)
        if isinstance(batches, MapBatches) and not batches.in_memory:
            if self.count == "auto" and not self.data:
                self.rates = tried(batches, self.epochs, processes)
                self.number = best(self.rates) if self.rates else self.number
            self.data.append(batches)
        return batches

    def epoch(self, batches: Batches, epoch: int, start: int) -> Iterator[Any]:
        if batches not in self.data:
            return batches.epoch(epoch, start)
        if self.workers is None:  # by now all data is open, and what follows forks nothing anew
            self.workers = Processes(self.data, self.number, self.prefetch_factor, self.timeout, self.start, self.pin)
        return self.workers.batches(self.data.index(batches), epoch, start)

    def identity(self) -> dict[str, Any] | None:
        """Whether there are any decides what global random numbers a data set may draw; how many does not."""
        return None if all(batches.stateless for batches in self.data) else {}

    def plan_notes(self) -> Mapping[str, str]:
        if not self.data or self.count != "auto":
            return {}
        if self.rates:
            return {"workers": describe(self.rates)}
        return {"workers": f"{self.number} = one for each core, at most {MOST}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.data:
            return []
        return ["workers has no effect: the data is in memory, or comes in its own order or in ready batches; it is read here"]

    def close(self) -> None:
        if self.workers is not None:
            self.workers.close()
            self.workers = None
