"""Profiler: which operators the time of an update goes to.

torch's profiler looks at a few updates. The summary then has a table of the
operators that took longest, without what they called; on CUDA by the time of
their kernels. The trace, with each call on a time line, is in
`profile/*.json.gz` in the run directory; perfetto.dev and chrome://tracing show
it.

Helps   finding out why an update takes as long as it does.
Hurts   nothing but the updates that it looks at, which are slower.
Costs   nothing in the other updates. In those it looks at some microseconds per
        operator, and more with shapes, memory and stacks. Writing the trace
        takes seconds where models are large; that is booked under `other`.
Source  https://docs.pytorch.org/docs/stable/profiler.html
Exact   Updates are counted from where this process began, so a resumed run is
        looked at again. The first few are left out because they are not like
        the rest: memory is still being found, kernels are being chosen.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._autograd import _profiler_enabled
from torch.profiler import ProfilerActivity, profile

from accel.errors import ConfigError
from accel.parts import Watch
from accel.report.result import Section
from accel.system import disk_errors
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["FOLDER", "Profiler", "export"]

FOLDER = "profile"


@dataclass(eq=False)
class Profiler(Watch):
    """Profiles some updates.

    Args:
        first: the first update to look at, counted from where this process began.
        updates: how many to look at.
        top: how many operators the table has.
        memory: also note what each operator allocates, in the trace.
        shapes: also note the shapes of its inputs, in the trace.
        stacks: also note the lines of Python that called it, in the trace.
    """

    first: Count = 10
    updates: Count = 5
    top: Count = 10
    memory: bool = False
    shapes: bool = False
    stacks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.profile: profile | None = None
        """While it runs."""
        self.section: Section | None = None

    def begin(self, run: Run) -> None:
        if _profiler_enabled():
            raise ConfigError("profiler: torch's profiler is running already, around fit(); leave one out: '~plugins.profiler'")
        self.device, self.out, self.step = run.device, run.out, run.progress.step
        self.start_at = run.progress.step + self.first - 1
        self.stop_at = self.start_at + self.updates
        if self.first == 1:
            self.start()

    def after(self, step: int, loss: Tensor) -> None:
        self.step = step
        if step == self.start_at:
            self.start()
        elif step == self.stop_at:
            self.stop()

    def start(self) -> None:
        """Begins to look, with nothing left under way on the device."""
        self.settle()
        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * (self.device.type == "cuda")]
        self.profile = profile(activities=activities, profile_memory=self.memory, record_shapes=self.shapes, with_stack=self.stacks)
        with warnings.catch_warnings():  # of torch 2.10, that a second cycle would forget the first: there is one
            warnings.filterwarnings("ignore", "Warning: Profiler clears events", UserWarning)
            self.profile.start()

    def stop(self) -> None:
        """Ends it, when the device has done what was asked of it; writes the trace and makes the table."""
        profile, self.profile = self.profile, None
        assert profile is not None
        self.settle()
        profile.stop()
        name = f"updates-{self.start_at + 1:08d}-to-{self.step:08d}.json.gz"
        if self.out is not None:
            (self.out / FOLDER).mkdir(exist_ok=True)
            export(profile, self.out / FOLDER / name)
        self.section = self.table(profile, self.step - self.start_at)

    def settle(self) -> None:
        """Waits for the device, so that its work is seen in the updates that asked for it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def table(self, profile: profile, updates: int) -> Section:
        """The operators that took longest in themselves, per update."""
        on_cuda = self.device.type == "cuda"
        field = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        spent = [(getattr(row, field), row.count, row.key) for row in profile.key_averages()]
        total = sum(time for time, _, _ in spent) or 1.0
        rows: list[dict[str, str | int | float]] = [
            {
                "operator": name,
                "calls": round(count / updates, 1) if count % updates else count // updates,
                "self ms": round(time / updates / 1000, 6),
                "share percent": round(100 * time / total, 2),
            }
            for time, count, name in sorted(spent, reverse=True)[: self.top]
        ]
        where = "on the device" if on_cuda else "on the CPU"
        return Section(f"operators by their own time {where}, per update ({self.start_at + 1} to {self.step})", rows)

    def ineffective_settings(self, run: Run) -> list[str]:
        found = []
        if run.updates is not None and self.first > run.updates:
            found.append(f"profiler sees nothing: profiler.first={self.first}, and the whole run has {run.updates} updates")
        if not run.has_run_directory:
            dead = self.changed("memory", "shapes", "stacks")
            found += [f"profiler.{name} has no effect without out=DIR: there is no trace to note it in" for name in dead]
        return found

    def end(self, result: Any) -> None:
        if self.profile is not None and self.step > self.start_at:  # the run was shorter
            self.stop()
        if self.section is not None:
            result.sections[self.name] = self.section

    def close(self) -> None:
        if self.profile is not None:
            profile, self.profile = self.profile, None
            profile.stop()


def export(profile: profile, file: Path) -> None:
    """Writes the trace, packed; it is there whole or not at all."""
    temporary = file.with_name(f".{file.name}")
    with disk_errors.warn_on_disk_error(temporary):
        profile.export_chrome_trace(str(temporary))
        temporary.replace(file)
