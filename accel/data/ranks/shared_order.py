"""Reading of data in its own order by several ranks, which all must read it in the same one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from accel.data.randomness.own_states import OwnStates
from accel.data.randomness.sample_randomness import SampleRandomness
from accel.data.randomness.tripwire import Drew, ReadInTurn, Tripwire, reads_ahead
from accel.device.rng import mix_seed

__all__ = ["SharedOrder"]


class SharedOrder:
    """Iterator over lists of items, whose reading draws the same random numbers from the global generators on every rank.

    The numbers are a function of seed and epoch. Data that draws once, as it begins, may be read ahead from then on. Data that goes
    on to draw leaves a trace in the training's own generators, each time: whoever would read ahead in a thread sees that it must
    not. If data draws for the first time later on, it is begun anew, and read up to there with the numbers that are its own.

    Args:
        data: gives the items of an epoch, whenever it is iterated over.
        size: items in a list.
        seed: of the run.
        epoch: from 0.
    """

    def __init__(self, data: Iterable[Any], size: int, seed: int, epoch: int) -> None:
        self.data, self.size, self.seed, self.epoch = data, size, seed, epoch
        self.draws_late = False
        self.open()

    def open(self) -> None:
        """Begin the data, and read two lists of it, the second of which tells whether it goes on to draw."""
        self.number = 0
        self.randomness = SampleRandomness(self.data, self.seed, at_once=True)
        self.states = OwnStates(self.randomness, lambda _: mix_seed(self.seed, self.epoch))
        self.iterator: Iterator[Any] = self.states.read(lambda: iter(self.data))[0].pop()
        self.head = [self._read_in_turn()]
        self.randomness.moving.clear()
        if self.head[0]:
            self.head.append(self._read_in_turn())
        if not self.randomness.draws and not self.draws_late:
            self.randomness.watched = frozenset()  # nothing is set for what draws nothing, and what does draw is noticed

    def __iter__(self) -> Iterator[list[Any]]:
        while items := self.next():
            yield items

    @property
    def first(self) -> Any:
        """The first item; None if there is none."""
        return self.head[0][0] if self.head[0] else None

    def next(self) -> list[Any]:
        """Return the next items; an empty list at the end.

        Raises:
            ReadInTurn: in a thread that reads ahead, if the data draws.
        """
        if reads_ahead() and self.randomness.draws:
            raise ReadInTurn(lambda: iter(self), certain=True)
        items = self.head.pop(0) if self.head else self._read_ahead() if reads_ahead() else self._read_in_turn()
        self.number += 1
        if items and self.randomness.draws:
            torch.rand(())
        return items

    def _read(self) -> list[Any]:
        return list(islice(self.iterator, self.size))

    def _read_in_turn(self) -> list[Any]:
        """Return the next items, read with the generators set for them."""
        if type(self.data) in (list, tuple):
            return self._read()
        results, new = self.states.read(self._read)
        if new:
            self._begin_anew()
            results, _ = self.states.read(self._read)
        return results.pop()

    def _read_ahead(self) -> list[Any]:
        """Return the next items, read beside the training, where nothing may draw."""
        wire, results = Tripwire(self.randomness.handles, prevent=True), list[list[Any]]()
        try:
            with wire:
                results.append(self._read())
        except (Exception, Drew):
            if not wire.tripped:
                raise
        if not wire.tripped:
            return results.pop()
        if not results:  # the iterator may have ended with the draw that was prevented
            raise ReadInTurn(self._again, certain=True)
        self.head = results
        raise ReadInTurn(lambda: iter(self), certain=True, late=True)

    def _again(self) -> Iterator[list[Any]]:
        """Return the lists from the next one on, read again from the beginning."""
        self._begin_anew()
        return iter(self)

    def _begin_anew(self) -> None:
        """Begin the data anew, with the generators set for all of it, and pass over the lists before the next one."""
        before, self.draws_late = self.number, True
        self.open()
        for _ in range(before):
            self.next()
