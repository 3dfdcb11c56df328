"""Reading of data in its own order by several ranks, which all must read it in the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch

from accel.device.rng import Randomness, mix_seed

__all__ = ["SharedOrder"]


class SharedOrder:
    """Iterator over lists of items, whose reading draws the same random numbers from the global generators on every rank.

    The numbers are a function of seed and epoch. Data that draws once, as it begins, is read as any other from then on. Data that
    goes on to draw has the generators to itself each time, and leaves a trace in them: whoever would read ahead in a thread sees
    that it must not.

    Args:
        items: makes the iterator of an epoch.
        size: items in a list.
        seed: of the run.
        epoch: from 0.
    """

    def __init__(self, items: Callable[[], Iterator[Any]], size: int, seed: int, epoch: int) -> None:
        self.size, self.random = size, Randomness(torch.device("cpu"))
        with self.random.preserved():
            self.random.seed(mix_seed(seed, epoch))
            self.state = self.random.state()
        self.iterator = self.drawing(items)
        self.head = [self.read()]
        self.draws = True
        if self.head[0]:
            before = self.state
            self.head.append(self.read())
            self.draws = not _same(before, self.state)

    def __iter__(self) -> Iterator[list[Any]]:
        while self.head and self.head[0]:
            if self.draws:
                torch.rand(())
            yield self.head.pop(0)
        while items := self.read() if self.draws else list(islice(self.iterator, self.size)):
            if self.draws:
                torch.rand(())
            yield items

    @property
    def first(self) -> Any:
        """The first item; None if there is none."""
        return self.head[0][0] if self.head[0] else None

    def read(self) -> list[Any]:
        """Return the next items, read with the generators set for them."""
        items: list[Any] = self.drawing(lambda: list(islice(self.iterator, self.size)))
        return items

    def drawing(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns, done with the generators set for this data."""
        with self.random.preserved():
            self.random.restore(self.state)
            result = work()
            self.state = self.random.state()
        return result


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return torch.equal(one["cpu"], other["cpu"]) and (one["python"], one["numpy"]) == (other["python"], other["numpy"])
