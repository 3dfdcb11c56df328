"""What ways to a CUDA device share that copy from pinned memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from accel.data.loaders.device_copy import Copies
from accel.parts.input import Transfer
from accel.system.machine import Need

if TYPE_CHECKING:
    from accel.parts.run import Run


class Copied(Transfer):
    """Copies that the host does not wait for; on a CPU it has no effect."""

    wants: ClassVar[tuple[Need, ...]] = (Need("cuda", why="its batches are where they belong"),)
    beside: ClassVar[bool]
    """Whether on a stream of their own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.copies: Copies | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.copies = Copies(run.device, beside=self.beside) if run.device.type == "cuda" else None

    def batch(self, batch: Any) -> Any:
        return super().batch(batch) if self.copies is None else self.copies.arrive(self.copies.depart(batch))

    def idle(self, run: Run) -> list[str]:
        return [] if self.copies else [f"{self.name} has no effect: on the CPU a batch is where it belongs"]

    def close(self) -> None:
        if self.copies is not None:
            self.copies.close()
