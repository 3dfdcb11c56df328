"""Profiler: a watch that shows on which operators the time of an update is spent.

torch's profiler records a few updates. The summary then has a table of the
operators that took longest, without the operators that they called. On CUDA the
time is that of their kernels. The trace, with each call on a time line, is in
`profile/*.json.gz` in the run directory; perfetto.dev and chrome://tracing show
it.

Helps   finding out why an update takes as long as it does.
Hurts   nothing but the recorded updates, which are slower.
Costs   nothing in the other updates. Recorded updates take some microseconds
        more per operator, and more with shapes, memory and stacks. Writing the
        trace takes seconds for large models, booked under `other`.
Source  https://docs.pytorch.org/docs/stable/profiler.html
Exact   Updates are counted from the start of this process, so a resumed run is
        profiled again. The first few are left out because they are not like the
        others: memory is still being allocated, and kernels are being chosen.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch._C._autograd import _profiler_enabled
from torch.profiler import ProfilerActivity, profile

from accel.device.accelerators.runtime import synchronize
from accel.errors import ConfigError
from accel.parts import Watch
from accel.report.result import Section
from accel.system import atomic_files, disk_errors
from accel.system.call_stack import warn_user
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["FOLDER", "Profiler", "export_trace"]

FOLDER = "profile"
ACTIVITIES = {"cuda": (ProfilerActivity.CUDA,), "xpu": (ProfilerActivity.XPU,)}
"""What is recorded beside the host, by the kind of device."""


@dataclass(eq=False)
class Profiler(Watch):
    """Watch that profiles some updates.

    Args:
        first: first update to record, counted from 1 at the start of this process.
        updates: updates to record.
        top: operators in the table.
        memory: also record in the trace how much memory each operator allocates.
        shapes: also record in the trace the shapes of each operator's inputs.
        stacks: also record in the trace the lines of Python that called each operator.
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
        """The profiler of torch, while it runs."""
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
        """Start recording, with nothing left under way on the device."""
        self.synchronize()
        activities = [ProfilerActivity.CPU, *ACTIVITIES.get(self.device.type, ())]
        self.profile = profile(activities=activities, profile_memory=self.memory, record_shapes=self.shapes, with_stack=self.stacks)
        with warnings.catch_warnings():  # of torch 2.10, that a second cycle would forget the first: there is one
            warnings.filterwarnings("ignore", "Warning: Profiler clears events", UserWarning)
            self.profile.start()

    def stop(self) -> None:
        """Stop recording, after the device's last kernel; write the trace and make the table."""
        profile, self.profile = self.profile, None
        assert profile is not None
        self.synchronize()
        profile.stop()
        name = f"updates-{self.start_at + 1:08d}-to-{self.step:08d}.json.gz"
        if self.out is not None:
            (self.out / FOLDER).mkdir(exist_ok=True)
            export_trace(profile, self.out / FOLDER / name)
        self.section = self.make_table(profile, self.step - self.start_at)

    def synchronize(self) -> None:
        """Wait for the device, so that its kernels are recorded in the updates that launched them."""
        synchronize(self.device)

    def make_table(self, profile: profile, updates: int) -> Section:
        """Return the table of the operators that took longest in themselves, per update."""
        averages = profile.key_averages()
        on_cuda = self.device.type == "cuda" and any(row.self_device_time_total for row in averages)
        if self.device.type == "cuda" and not on_cuda:
            warn_user(
                "profiler: CUPTI recorded no work of the device, so the table has the host's times; it says why on stderr (in a "
                "container or on a shared machine, profiling of devices must be allowed to users: nvidia.com/ERR_NVGPUCTRPERM)"
            )
        field = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        times = [(getattr(row, field), row.count, row.key) for row in averages]
        total = sum(time for time, _, _ in times) or 1.0
        rows: list[dict[str, str | int | float]] = [
            {
                "operator": name,
                "calls": round(count / updates, 1) if count % updates else count // updates,
                "self ms": round(time / updates / 1000, 6),
                "share percent": round(100 * time / total, 2),
            }
            for time, count, name in sorted(times, reverse=True)[: self.top]
        ]
        where = "on the device" if on_cuda else "on the CPU"
        return Section(f"operators by their own time {where}, per update ({self.start_at + 1} to {self.step})", rows)

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = []
        if run.updates is not None and self.first > run.updates:
            messages.append(f"profiler sees nothing: profiler.first={self.first}, and the whole run has {run.updates} updates")
        if not run.has_run_directory:
            names = self.changed("memory", "shapes", "stacks")
            messages += [f"profiler.{name} has no effect without out=DIR: there is no trace to note it in" for name in names]
        return messages

    def end(self, result: Any) -> None:
        if self.profile is not None and self.step > self.start_at:  # the run ended before the last update to record
            self.stop()
        if self.section is not None:
            result.sections[self.name] = self.section

    def close(self) -> None:
        if self.profile is not None:
            profile, self.profile = self.profile, None
            profile.stop()


def export_trace(profile: profile, file: Path) -> None:
    """Write the trace, compressed, as a whole or not at all."""
    with disk_errors.warn_on_disk_error(file), atomic_files.swapped_in(file) as temporary:
        profile.export_chrome_trace(str(temporary))
