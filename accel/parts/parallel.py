from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from accel.parts.part import Part

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["BUCKET", "NOTHING", "Parallel", "buckets"]

NOTHING = nullcontext()
BUCKET = 25 * 2**20
"""Bytes; as in DistributedDataParallel."""


@dataclass(eq=False)
class Parallel(Part):
    """How many processes train together; plainest: one."""

    def setup(self, run: Run) -> None:
        self.device = run.device
        self.typical = run.batch_size * run.parts.group.size if run.uses_batch_size else None
        """How many samples the full window of a rank has, the same number on each; None where the data comes in ready batches."""
        self.usual: Tensor | None = None
        """About how many items the first micro-batch had, on all ranks; 0-dim, on the device."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return 0

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return 1

    @property
    def mesh(self) -> Any:
        """Over which processes weights are spread, a DeviceMesh; None where each has all of them."""
        return None

    @property
    def saving(self) -> Any:
        """The group in which the threads that save talk to one another; None where each has all that is to be saved."""
        return None

    @property
    def attempt(self) -> int:
        """How many times these processes have been begun anew, each going on from its last checkpoint."""
        return 0

    def join(self, device: torch.device) -> torch.device:
        """Meets the other processes, before anything else is made; returns this one's device."""
        return device

    def model(self, model: nn.Module) -> nn.Module:
        """The model wrapped so that its gradients are averaged over the ranks."""
        return model

    def whole(self, model: nn.Module) -> nn.Module:
        """The model to hand out when the run ends, with all its weights; on the first rank at least. Every rank must call it."""
        return model

    def sync(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch; gradients travel only where it is the `last` real one of its window."""
        return NOTHING

    def sum(self, number: Tensor) -> Tensor:
        """The sum of a number, or of each number of a tensor, over all ranks, on the device."""
        return number

    def all_reduce_async(self, number: Tensor) -> Callable[[], Tensor]:
        """Begins to sum a number over all ranks; what is returned waits for the sum and gives it."""
        total = self.sum(number)
        return lambda: total

    def about(self, items: Tensor) -> Tensor:
        """About how many items a micro-batch has, the same number on every rank, 0-dim, on the device.

        Several ranks ask one another at the first micro-batch of a run alone, and keep a power of two, by which counts are divided
        exactly: from then on nobody waits for it.
        """
        if self.usual is not None:
            return self.usual
        found = self.sum(items).clamp(min=1.0) / self.world_size
        if self.world_size > 1:
            found = self.usual = found / torch.frexp(found).mantissa
        return found

    def average(self, grads: list[Tensor]) -> None:
        """Averages gradients over all ranks, in place, that did not travel in a backward pass (`sync(last=False)`).

        Every rank must call it with the same shapes. They go in buckets of `BUCKET` bytes, one collective each (`sum`).
        """
        if self.world_size > 1:
            for bucket in buckets(grads):
                total = self.sum(torch.cat([grad.reshape(-1) for grad in bucket]) / self.world_size)
                parts = torch.split(total, [grad.numel() for grad in bucket])
                torch._foreach_copy_(bucket, [part.view(grad.shape) for part, grad in zip(parts, bucket, strict=True)])

    def any(self, flag: bool) -> bool:
        """Whether any rank says so. Every rank must ask, and waits for the others on the host."""
        return flag

    def vote(self, flag: bool, about: str = "stop") -> bool:
        """Whether any rank said so when it asked last, the same answer on every rank; this `flag` is heard at the next call.

        Asked once per update: the answer travels while the update computes, so nobody waits for it. With one process there
        is nothing to travel, and `flag` itself is the answer. `about` is `save` or, asked last in each update, `stop`.
        """
        return flag

    def gather(self, value: Any) -> list[Any]:
        """Every rank's plain value, by rank. Every rank must call it."""
        return [value]

    def state_dict(self) -> dict[str, Any]:
        return {"usual": self.usual}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        usual: Tensor | None = state.get("usual")
        self.usual = None if usual is None or self.world_size == 1 else usual.to(self.device, copy=True)

    def close(self) -> None:
        """Leaves the group of processes, when the run ends, however it ends."""


def buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors in their order, in lists of one format of about `BUCKET` bytes."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size >= BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
    if bucket:
        yield bucket
