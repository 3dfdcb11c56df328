"""Memory: a watch that shows the peak memory of each phase, and its owners.

The summary has two tables: the peak of each phase of the run, and the sizes of
the owners. Owners are weights, gradients, optimiser state, average and other
parts. On CUDA the peak is the memory that torch has allocated on the device. On
a CPU it is the resident memory of the whole process, Python and its libraries
included.

Measured are the first update of each epoch, every `every`-th update, and each
evaluation; the peak of the whole run misses nothing. On CUDA, `snapshot`
records each allocation with the lines of code that made it. It goes into
`memory.pickle` in the run directory, for pytorch.org/memory_viz, and is written
also if the run fails.

Helps   choosing batch size, recompute and accumulation; finding out why a run
        does not fit.
Hurts   nothing. On Linux it resets the peak that the kernel keeps for the
        process, on CUDA the one that torch keeps.
Costs   a tenth of a millisecond per phase of a measured update, booked under
        `other`; snapshot some microseconds per allocation.
Source  `torch.cuda.max_memory_allocated`; proc_pid_status(5), VmHWM, and
        proc_pid_clear_refs(5).
Exact   The peak of a phase is the most memory in use while it lasted, whichever
        phase allocated it. On a CPU freed memory may stay with the process, and
        there are no phases if the kernel's peak cannot be reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import proxy

import torch

from accel.device.memory_peak import DeviceMemoryPeak, ProcessMemoryPeak, collect_tensors, tensor_bytes
from accel.parts import Part, Watch
from accel.report.result import Section
from accel.system import atomic_files
from accel.system.clock import BACKWARD, OTHER, PHASES
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["MAX_EVENTS", "MIN_SHOWN_BYTES", "SNAPSHOT_FILE", "Memory"]

SNAPSHOT_FILE = "memory.pickle"
MAX_EVENTS = 100_000
"""Allocations in a snapshot, at most: the last ones."""
MIN_SHOWN_BYTES = 1000
"""Fewest bytes of a part that get a row: a loss scale is not worth one."""


@dataclass(eq=False)
class Memory(Watch):
    """Watch that measures the peak memory of each phase, and the memory of each owner.

    Args:
        every: updates between two measured ones; the first of each epoch is measured besides.
        snapshot: record each allocation on CUDA.
    """

    every: Count = 50
    snapshot: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.snapshot_file: Path | None = None
        """The file of the snapshot, while one is recorded."""

    def begin(self, run: Run) -> None:
        self.run, self.progress, self.clock = proxy(run), run.progress, run.clock
        on_cuda = run.device.type == "cuda"
        self.gauge = DeviceMemoryPeak(run.device) if on_cuda else ProcessMemoryPeak()
        self.gauge.read_and_reset()
        self.run_peak = self.gradients = 0
        self.peaks: dict[int, int] = {}
        """Peak bytes by phase."""
        self.phase_measured = True
        """Whether the phase before was measured, so that the peak since then is of this phase alone."""
        self.clock.listeners.append(self.end_phase)
        if self.snapshot and on_cuda and run.out is not None:
            self.snapshot_file = run.out / SNAPSHOT_FILE
            torch.cuda.memory._record_memory_history(max_entries=MAX_EVENTS)

    def end_phase(self, phase: int) -> None:
        """Measure the phase that has ended."""
        if self.progress.batch and self.progress.step % self.every:
            self.phase_measured = False
            return
        start = perf_counter()
        peak = self.gauge.read_and_reset()
        self.run_peak = max(self.run_peak, peak)
        if self.phase_measured:
            self.peaks[phase] = max(self.peaks.get(phase, 0), peak)
        if phase == BACKWARD:
            self.gradients = max(self.gradients, tensor_bytes(param.grad for _, param in self.run.parts.precision.params))
        self.phase_measured = True
        self.clock.book_within_lap(perf_counter() - start, OTHER)

    def end(self, result: Any) -> None:
        self.run_peak = max(self.run_peak, self.gauge.read_and_reset())
        rows: list[dict[str, str | int | float]] = [
            {"phase": PHASES[phase], "peak bytes": peak} for phase, peak in sorted(self.peaks.items()) if self.gauge.resets
        ]
        rows.append({"phase": "the whole run" if self.gauge.resets else "the whole process", "peak bytes": self.run_peak})
        result.sections[self.name] = Section(f"peak memory, {self.gauge.description}", rows)
        owners: list[dict[str, str | int | float]] = [
            {"what": owner, "bytes": count} for owner, count in self.bytes_by_owner().items() if count
        ]
        result.sections[f"{self.name}_held"] = Section("memory held", owners)
        self.write_snapshot()

    def bytes_by_owner(self) -> dict[str, int]:
        """Return the bytes of weights, buffers and gradients, and of each part's state."""
        model, parts = self.run.unwrapped_model, self.run.parts
        sizes = {"weights": tensor_bytes(model.parameters()), "buffers": tensor_bytes(model.buffers()), "gradients": self.gradients}
        names: dict[Part, str] = {parts.optim: "optimiser state", parts.average: "average"}
        for part in parts.all():
            state_bytes = tensor_bytes(collect_tensors(part.state_dict()))
            if part in names or state_bytes >= MIN_SHOWN_BYTES:
                sizes[names.get(part, part.name)] = state_bytes
        return sizes

    def write_snapshot(self) -> None:
        """Write the snapshot, if one is recorded, and end the recording."""
        if self.snapshot_file is not None:
            file, self.snapshot_file = self.snapshot_file, None
            with atomic_files.swapped_in(file) as temporary:  # torch would follow a link of this name
                torch.cuda.memory._dump_snapshot(str(temporary))  # type: ignore[no-untyped-call]
            torch.cuda.memory._record_memory_history(enabled=None)

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.snapshot and run.device.type != "cuda":
            return ["memory.snapshot has no effect on a CPU: torch records allocations on CUDA alone"]
        if self.snapshot and not run.has_run_directory:
            return ["memory.snapshot has no effect: nothing is written without out=DIR"]
        return []

    def close(self) -> None:
        self.write_snapshot()
