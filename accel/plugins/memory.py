"""Memory: how much is in use at most, in which phase, and by what.

The summary has two tables: the peak of each phase of the run, and the sizes of
weights, gradients, optimiser state, average and what other parts keep. On CUDA
the peak is what torch has allocated on the device; on a CPU it is the resident
memory of the whole process, Python and its libraries included.

The first update of each epoch and every `every`-th is looked at, and each
evaluation; the peak of the whole run misses nothing. `snapshot` records on CUDA
each allocation with the lines that made it, into `memory.pickle` in the run
directory, for pytorch.org/memory_viz; it is written also where the run fails.

Helps   choosing batch size, recompute and accumulation; finding out why a run
        does not fit.
Hurts   nothing; on Linux it resets the peak that the kernel keeps for the
        process, on CUDA the one that torch keeps.
Costs   a tenth of a millisecond per phase of an update that is looked at,
        booked under `other`; snapshot some microseconds per allocation.
Source  `torch.cuda.max_memory_allocated`; proc_pid_status(5), VmHWM, and
        proc_pid_clear_refs(5).
Exact   The peak of a phase is the most that was in use while it lasted, by
        whatever was made before it too. On a CPU freed memory may stay with the
        process, and where the kernel's peak cannot be reset there are no phases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accel.device.memory_peak import DeviceMemoryPeak, ProcessMemoryPeak
from accel.parts import Part, Watch
from accel.report.result import Section
from accel.system.clock import BACKWARD, OTHER, PHASES
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["EVENTS", "FILE", "SMALL", "Memory", "has_memory", "size", "tensors"]

FILE = "memory.pickle"
EVENTS = 100_000
"""A snapshot has at most so many of the last allocations."""
SMALL = 1000
"""A part that keeps fewer bytes, such as a loss scale, is not worth a row."""


@dataclass(eq=False)
class Memory(Watch):
    """Shows the peak of each phase, and what holds how much.

    Args:
        every: besides the first update of each epoch, look at every so many.
        snapshot: record each allocation on CUDA.
    """

    every: Count = 50
    snapshot: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.file: Path | None = None
        """Where the snapshot is to be written, while one is recorded."""

    def begin(self, run: Run) -> None:
        self.run, self.progress, self.clock = run, run.progress, run.clock
        on_cuda = run.device.type == "cuda"
        self.gauge = DeviceMemoryPeak(run.device) if on_cuda else ProcessMemoryPeak()
        self.gauge.read_and_reset()
        self.whole = self.gradients = 0
        self.peaks: dict[int, int] = {}
        """By phase."""
        self.looked = True
        """Whether the phase before was looked at, so that the peak since then is of this one alone."""
        self.clock.listeners.append(self.lap)
        if self.snapshot and on_cuda and run.out is not None:
            self.file = run.out / FILE
            torch.cuda.memory._record_memory_history(max_entries=EVENTS)

    def lap(self, phase: int) -> None:
        """A phase has ended."""
        if self.progress.batch and self.progress.step % self.every:
            self.looked = False
            return
        since = perf_counter()
        peak = self.gauge.read_and_reset()
        self.whole = max(self.whole, peak)
        if self.looked:
            self.peaks[phase] = max(self.peaks.get(phase, 0), peak)
        if phase == BACKWARD:
            self.gradients = max(self.gradients, size(param.grad for _, param in self.run.parts.precision.params))
        self.looked = True
        self.clock.book_within_lap(perf_counter() - since, OTHER)

    def end(self, result: Any) -> None:
        self.whole = max(self.whole, self.gauge.read_and_reset())
        rows: list[dict[str, str | int | float]] = [
            {"phase": PHASES[phase], "peak bytes": peak} for phase, peak in sorted(self.peaks.items()) if self.gauge.resets
        ]
        rows.append({"phase": "the whole run" if self.gauge.resets else "the whole process", "peak bytes": self.whole})
        result.sections[self.name] = Section(f"peak memory, {self.gauge.description}", rows)
        held: list[dict[str, str | int | float]] = [{"what": what, "bytes": count} for what, count in self.held().items() if count]
        result.sections[f"{self.name}_held"] = Section("memory held", held)
        self.dump()

    def held(self) -> dict[str, int]:
        """What is kept from update to update, and the gradients, in bytes."""
        bare, parts = self.run.unwrapped_model, self.run.parts
        sizes = {"weights": size(bare.parameters()), "buffers": size(bare.buffers()), "gradients": self.gradients}
        names: dict[Part, str] = {parts.optim: "optimiser state", parts.average: "average"}
        for part in parts.all():
            kept = size(tensors(part.state_dict()))
            if part in names or kept >= SMALL:
                sizes[names.get(part, part.name)] = kept
        return sizes

    def dump(self) -> None:
        """Writes the snapshot, and records no more."""
        if self.file is not None:
            file, self.file = self.file, None
            torch.cuda.memory._dump_snapshot(str(file))  # type: ignore[no-untyped-call]
            torch.cuda.memory._record_memory_history(enabled=None)

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.snapshot and run.device.type != "cuda":
            return ["memory.snapshot has no effect on a CPU: torch records allocations on CUDA alone"]
        if self.snapshot and not run.has_run_directory:
            return ["memory.snapshot has no effect: nothing is written without out=DIR"]
        return []

    def close(self) -> None:
        self.dump()


def size(found: Iterable[Tensor | None]) -> int:
    """The bytes of these tensors together, each place in memory once."""
    places = {(tensor.device, tensor.data_ptr()): tensor.nbytes for tensor in found if tensor is not None and has_memory(tensor)}
    return sum(places.values())


def has_memory(tensor: Tensor) -> bool:
    """Whether it is dense, and has numbers."""
    return tensor.layout == torch.strided and tensor.numel() > 0


def tensors(state: Any) -> list[Tensor]:
    """Every tensor in a state, however deep."""
    if isinstance(state, Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for one in inner for tensor in tensors(one)]
