"""SyncGuard: who makes the host wait for the device, by file and line.

`loss.item()`, `if tensor > 0`, `tensor.nonzero()`: each makes the host wait
until the device has done everything that was asked of it, and the device then
waits for the host. A few updates are looked at, from the start of the forward
pass to the end of the step, and the summary has a table of what waited, where.
On CUDA torch tells (`torch.cuda.set_sync_debug_mode`); on a CPU, where nothing
waits, numbers read on the host are counted, which would wait on CUDA. What
watches do between two updates is not counted.

Helps   finding what keeps a GPU idle, on a laptop too; in tests, with raise.
Hurts   nothing but the updates that it looks at, which are slower on a CPU.
Costs   nothing in the other updates; in those it looks at, several
        microseconds per operator on a CPU and nothing on CUDA.
Source  `torch.cuda.set_sync_debug_mode`; `TorchDispatchMode`.
Exact   Updates are counted from where this process began. On a CPU a tensor
        that would stay on the CPU counts too, and numpy's look into a tensor's
        memory does not. On CUDA a batch that is not in pinned memory waits when
        it is moved. Compiled code is not seen inside.
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
    """Counts host reads, and names file and line.

    Args:
        action: count puts them into the summary; raise ends the run at the first, in the line that reads.
        first: the first update to look at, counted from where this process began.
        updates: how many to look at.
    """

    action: Literal["count", "raise"] = "count"
    first: Count = 4
    updates: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self.seeker: HostReadReporter | SyncReporter | None = None
        self.places: dict[str, int] = {}
        """How many there were where."""

    def begin(self, run: Run) -> None:
        self.progress = run.progress
        self.begins = run.progress.step + self.first - 1
        self.ends = self.begins + self.updates
        self.epoch = run.progress.epoch
        self.seeker = (SyncReporter if run.device.type == "cuda" else HostReadReporter)(self.tell)
        run.clock.listeners.append(self.lap)

    def lap(self, phase: int) -> None:
        """A phase has ended: looks from the end of `data` to the end of `update`, which is one update without the watches."""
        assert self.seeker is not None
        if phase == UPDATE:
            self.seeker.stop()
        elif phase == DATA and self.epoch == self.progress.epoch and self.begins <= self.progress.step < self.ends:
            self.seeker.start()  # where an epoch has just ended, an evaluation follows and no update
        self.epoch = self.progress.epoch

    def tell(self, where: str) -> None:
        """One was found."""
        self.places[where] = self.places.get(where, 0) + 1
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
        last = min(self.ends, self.progress.step)
        seen = last - self.begins
        if seen <= 0:
            return
        ordered = sorted(self.places.items(), key=lambda item: -item[1])
        what = "waits for the device" if isinstance(self.seeker, SyncReporter) else "numbers read on the host, each a wait on CUDA"
        title = f"{what}: {sum(self.places.values())} in {seen} updates ({self.begins + 1} to {last})"
        result.sections[self.name] = Section(title, [{"where": where, "per update": count / seen} for where, count in ordered])

    def close(self) -> None:
        if self.seeker is not None:
            self.seeker.stop()
