from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from accel.parts.part import Part

NOTHING = nullcontext()
BUCKET = 25 * 2**20
"""Bytes; as in DistributedDataParallel."""


@dataclass(eq=False)
class Parallel(Part):
    """How many processes train together; plainest: one."""

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return 0

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return 1

    def model(self, model: nn.Module) -> nn.Module:
        """The model wrapped so that its gradients are averaged over the ranks."""
        return model

    def sync(self, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch; gradients travel only where it is the `last` real one of its window."""
        return NOTHING

    def sum(self, number: Tensor) -> Tensor:
        """The sum of a number, or of each number of a tensor, over all ranks, on the device."""
        return number

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

    def agree(self, flag: bool) -> bool:
        """Whether any rank said so when it asked last, the same answer on every rank; this `flag` is heard at the next call.

        Asked once per update: the answer travels while the update computes, so nobody waits for it. With one process there
        is nothing to travel, and `flag` itself is the answer.
        """
        return flag

    def gather(self, value: Any) -> list[Any]:
        """Every rank's plain value, by rank. Every rank must call it."""
        return [value]

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
