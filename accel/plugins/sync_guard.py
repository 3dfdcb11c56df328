"""SyncGuard: a watch that finds lines of code that wait for the device.

`loss.item()`, `if tensor > 0`, `tensor.nonzero()`: each makes the host wait
until the device has finished everything queued on it. The device then waits for
the host. A few updates are watched, from the start of the forward pass to the
end of the step. The summary has a table of the waits by file and line.

On CUDA torch reports them (`torch.cuda.set_sync_debug_mode`). On a CPU, where
nothing waits, numbers read on the host are counted, which would wait on CUDA.
Reads by watches between two updates are not counted.

Helps   finding causes of an idle GPU, on a laptop too; tests, with
        action=raise.
Hurts   nothing but the watched updates, which are slower on a CPU.
Costs   nothing in the other updates. Watched updates take several microseconds
        more per operator on a CPU, and nothing more on CUDA.
Source  `torch.cuda.set_sync_debug_mode`; `TorchDispatchMode`.
Exact   Updates are counted from the start of this process. On a CPU a tensor
        that would stay on the CPU counts too, and numpy's look into a tensor's
        memory does not. On CUDA a batch that is not in pinned memory waits when
        it is moved. Compiled code is not watched inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from accel.device.sync_warnings import HostReadReporter, SyncReporter
from accel.errors import TrainingError
from accel.parts import Watch
from accel.report.result import Section
from accel.system.clock import DATA, UPDATE
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["SyncGuard"]


@dataclass(eq=False)
class SyncGuard(Watch):
    """Watch that counts waits for the device by file and line.

    Args:
        action: count lists the waits in the summary; raise ends the run at the first, in the line that waits.
        first: first update to watch, counted from 1 at the start of this process.
        updates: updates to watch.
    """

    action: Literal["count", "raise"] = "count"
    first: Count = 4
    updates: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.detector: HostReadReporter | SyncReporter | None = None
        self.place_counts: dict[str, int] = {}
        """Number of waits by place, `file:line`."""

    def begin(self, run: Run) -> None:
        self.progress = run.progress
        self.first_step = run.progress.step + self.first - 1
        self.end_step = self.first_step + self.updates
        self.epoch = run.progress.epoch
        self.detector = (SyncReporter if run.device.type == "cuda" else HostReadReporter)(self.count_read)
        run.clock.listeners.append(self.end_phase)

    def end_phase(self, phase: int) -> None:
        """Watch from the end of phase `data` to the end of phase `update`, which is one update without the watches."""
        assert self.detector is not None
        if phase == UPDATE:
            self.detector.stop()
        elif phase == DATA and self.epoch == self.progress.epoch and self.first_step <= self.progress.step < self.end_step:
            self.detector.start()  # at the end of an epoch an evaluation follows, and no update
        self.epoch = self.progress.epoch

    def count_read(self, where: str) -> None:
        """Count a wait at a place. Raise TrainingError with action=raise."""
        self.place_counts[where] = self.place_counts.get(where, 0) + 1
        if self.action == "raise":
            raise TrainingError(
                f"sync_guard: update {self.progress.step + 1} makes the host wait for the device in {where}; keep the number on "
                "the device (a watch may read it with accel.device.async_readback), or set plugins.sync_guard.action=count"
            )

    def ineffective_settings(self, run: Run) -> list[str]:
        if run.updates is not None and self.first > run.updates:
            return [f"sync_guard sees nothing: sync_guard.first={self.first}, and the whole run has {run.updates} updates"]
        return []

    def end(self, result: Any) -> None:
        last = min(self.end_step, self.progress.step)
        watched = last - self.first_step
        if watched <= 0:
            return
        ordered = sorted(self.place_counts.items(), key=lambda item: -item[1])
        kind = (
            "waits for the device" if isinstance(self.detector, SyncReporter) else "numbers read on the host, each a wait on CUDA"
        )
        title = f"{kind}: {sum(self.place_counts.values())} in {watched} updates ({self.first_step + 1} to {last})"
        result.sections[self.name] = Section(title, [{"where": where, "per update": count / watched} for where, count in ordered])

    def close(self) -> None:
        if self.detector is not None:
            self.detector.stop()
