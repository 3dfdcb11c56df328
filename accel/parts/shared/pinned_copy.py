"""Base of the transfers that copy from pinned memory to a CUDA device."""

from __future__ import annotations

from typing import Any, ClassVar

from accel.data.loaders.device_copy import DeviceCopier
from accel.parts.input import Transfer
from accel.parts.run import Run
from accel.system.machine import Need

__all__ = ["PinnedCopy"]


class PinnedCopy(Transfer):
    """Transfer that the host does not wait for. It has an effect on CUDA alone."""

    wants: ClassVar[tuple[Need, ...]] = (Need("cuda", why="its batches are where they belong"),)
    own_stream: ClassVar[bool]
    """Whether copies go through a CUDA stream of their own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.copies: DeviceCopier | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.copies = DeviceCopier(run.device, beside=self.own_stream) if run.device.type == "cuda" else None

    def batch(self, batch: Any) -> Any:
        return super().batch(batch) if self.copies is None else self.copies.finish(self.copies.start(batch))

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.copies:
            return []
        kind = run.device.type
        reason = "on the CPU a batch is where it belongs" if kind == "cpu" else f"copies to {kind} are waited for"
        return [f"{self.name} has no effect: {reason}"]

    def close(self) -> None:
        if self.copies is not None:
            self.copies.close()
