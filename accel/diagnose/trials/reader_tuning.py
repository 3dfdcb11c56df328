"""Readers, how far they read ahead, and torch's threads beside them, tuned by windows of updates of the run itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from accel.compare import Limits, SpeedRatio, interleave
from accel.data.batches.mapped import MapBatches
from accel.data.batches.structure import flatten
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.machine.host_memory import read_memory
from accel.diagnose.trials.count_search import SearchResult, search_count, search_fewer
from accel.diagnose.trials.reader_limits import SPARE, first_count, most_readers
from accel.parts import Compile
from accel.parts.model import Backend
from accel.report.formatting import size
from accel.system.cpu.local_ranks import local_ranks
from accel.system.cpu.processor import read_processor

__all__ = ["DEPTHS", "ENOUGH", "MOST_DEPTH", "ReaderSettings", "TunedReaders", "tune_readers"]

DEPTHS = {"threads": "depth", "workers": "prefetch_factor", "prefetch": "depth"}
"""Setting that says how far ahead is read, by plugin."""
ENOUGH = 0.02
"""Share of a window: if the loop waits for its data for less, more readers cannot help."""
MOST_DEPTH = 16
"""Batches ahead, at most."""


class ReaderSettings(NamedTuple):
    """What can be chosen about readers."""

    readers: int
    depth: int
    threads: int
    """Of torch."""


@dataclass(frozen=True)
class TunedReaders:
    """Readers that were found.

    Args:
        plugin: that reads.
        settings: the values to set, by key, without those that are as they were.
        searches: what was searched, by name, in order: `count`, `depth` and `threads`.
    """

    plugin: str
    settings: tuple[tuple[str, Any], ...] = ()
    searches: dict[str, SearchResult] = field(default_factory=dict)


def tune_readers(arm: Arm, plugin: str, limits: Limits) -> TunedReaders:
    """Return the best number of readers, the best depth, and the best number of torch's threads beside them.

    One after the other: readers until the model is the limit or more bring nothing, then the depth, then fewer threads of torch,
    which compete with the readers for cores. Afterwards torch has as many threads as before. Every rank must call it.

    Args:
        arm: a run in which the plugin is on, calibrated.
        plugin: `threads`, `workers` or `prefetch`.
        limits: of each comparison.
    """
    before = torch.get_num_threads()
    try:
        return _ReaderTuning(arm, plugin, limits).tune()
    finally:
        torch.set_num_threads(before)


class _ReaderTuning:
    """Tuning under way; the arguments are those of `tune_readers`."""

    def __init__(self, arm: Arm, plugin: str, limits: Limits) -> None:
        parts = arm.run.parts
        self.arm, self.plugin, self.limits = arm, plugin, limits
        self.part: Any = parts.prefetch if plugin == "prefetch" else parts.loader
        self.depth_name = DEPTHS[plugin]
        self.begun = self.best = ReaderSettings(
            getattr(self.part, "reader_count", 1), getattr(self.part, self.depth_name), torch.get_num_threads()
        )
        self.searches: dict[str, SearchResult] = {}

    def tune(self) -> TunedReaders:
        """Return what is best."""
        if self.plugin != "prefetch":
            self.searches["count"] = self.search("readers", *self.bound_of_readers())
        self.searches["depth"] = self.search("depth", *self.bound_of_depth())
        if self.may_choose_threads():
            fewer = search_fewer(self.best.threads, partial(self.faster, "threads"))
            self.searches["threads"], self.best = fewer, self.best._replace(threads=fewer.count)
        best, key = self.best, f"plugins.{self.plugin}"
        chosen = {f"{key}.count": best.readers} if self.plugin != "prefetch" else {}
        chosen |= {f"{key}.{self.depth_name}": best.depth} if best.depth != self.begun.depth else {}
        chosen |= {"plugins.backend.threads": best.threads} if best.threads != self.begun.threads else {}
        return TunedReaders(self.plugin, tuple(chosen.items()), self.searches)

    def search(self, name: str, most: int, bound: str) -> SearchResult:
        """Search one of the settings, beside the best of the others, and keep it."""
        first = getattr(self.best, name)
        if name == "readers":
            first = min(first, first_count(read_processor().usable, local_ranks()))
            first = self.arm.run.parts.parallel.highest([first])[0]
        self.best = self.best._replace(**{name: min(first, most)})
        result = search_count(first, most, bound, partial(self.faster, name), partial(self.is_enough, name), name == "readers")
        self.best = self.best._replace(**{name: result.count})
        return result

    def faster(self, name: str, base: int, other: int) -> SpeedRatio:
        """Return how many times faster the run is with another value of one setting."""
        one, two = (self.best._replace(**{name: value}) for value in (base, other))
        return interleave(partial(self.window, one), partial(self.window, two), self.limits, self.arm.clock)

    def is_enough(self, name: str, value: int) -> bool:
        """Return whether the loop hardly waits for its data with a value of one setting. On any rank it may."""
        self.window(self.best._replace(**{name: value}))
        return not self.arm.run.parts.parallel.any(self.arm.waited >= ENOUGH)

    def window(self, settings: ReaderSettings) -> float:
        """Return the seconds per sample of a window with these settings."""
        if self.plugin != "prefetch" and settings.readers != self.part.reader_count:
            self.part.set_readers(settings.readers)
        if settings.depth != getattr(self.part, self.depth_name):
            self.part.set_depth(settings.depth)
        if settings.threads != torch.get_num_threads():
            torch.set_num_threads(settings.threads)
        return self.arm.window()

    def bound_of_readers(self) -> tuple[int, str]:
        """Return the highest number of readers, the same on every rank, and what makes it the highest."""
        batches = self.arm.run.train
        assert isinstance(batches, MapBatches)
        self.arm.window()  # so that the readers are at work
        cores, ranks = read_processor().usable, local_ranks()
        most, bound = most_readers(self.part, batches, self.batch_bytes(), read_memory(), cores, ranks)
        return -self.arm.run.parts.parallel.highest([-most])[0], bound

    def bound_of_depth(self) -> tuple[int, str]:
        """Return the highest depth, the same on every rank, and what makes it the highest."""
        each, free = self.batch_bytes() * (self.best.readers if self.plugin == "workers" else 1), read_memory().free
        most, bound = MOST_DEPTH, f"{MOST_DEPTH} are the most that are tried"
        if free is not None and each and (fitting := free // SPARE // local_ranks() // each) < most:
            most, bound = max(self.best.depth, fitting), f"each takes {size(each)} of memory, of which {size(free)} are free"
        return -self.arm.run.parts.parallel.highest([-most])[0], bound

    def batch_bytes(self) -> int:
        """Return the bytes of a batch of the run."""
        tensors: list[Tensor] = []
        with self.arm.batches() as batches:
            try:
                flatten(next(batches).batch, tensors)
            except TypeError:
                return 0
        return sum(tensor.nbytes for tensor in tensors)

    def may_choose_threads(self) -> bool:
        """Return whether torch's threads are for this to choose: on a CPU, where neither the user nor a compiled model has."""
        run = self.arm.run
        backend, chosen = run.parts.backend, getattr(run.parts.backend, "threads", None)
        free = type(backend) is Backend or (backend.name == "backend" and not isinstance(chosen, int))
        return run.device.type == "cpu" and type(run.parts.compile) is Compile and free and self.best.threads > 1
