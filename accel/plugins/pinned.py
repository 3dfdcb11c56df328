"""Pinned: batches reach the device from pinned memory; the host does not wait.

Helps   on CUDA, where the host has more to do than to wait for a copy: it
        queues the copy and the whole update behind it. A batch that is pinned
        already (the ring of `threads`) is not copied a second time on the host.
Hurts   nothing on CUDA. On a CPU batches are where they belong: it has no
        effect.
Costs   a copy on the host into pinned memory, which torch keeps and uses again.
Source  https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html
Exact   The same bytes. What is being copied from is held until the copy is
        done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from accel.data.device import Copies
from accel.machine import Need
from accel.parts import Transfer

if TYPE_CHECKING:
    from accel.parts import Run


@dataclass(eq=False)
class Pinned(Transfer):
    """Pinned memory and `non_blocking` copies, on the stream of the computation."""

    wants: ClassVar[tuple[Need, ...]] = (Need("cuda", why="its batches are where they belong"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.copies: Copies | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.copies = Copies(run.device, beside=False) if run.device.type == "cuda" else None

    def batch(self, batch: Any) -> Any:
        return super().batch(batch) if self.copies is None else self.copies.arrive(self.copies.depart(batch))

    def idle(self, run: Run) -> list[str]:
        return [] if self.copies else ["pinned has no effect: on the CPU a batch is where it belongs"]

    def close(self) -> None:
        if self.copies is not None:
            self.copies.close()
