"""The random numbers of samples whose data set draws them from shared generators: a function of (seed, epoch, index).

Python, numpy and torch have one global generator each, and data sets and transforms hold others. Which number comes next depends on
all that was drawn before: on who reads, how far ahead, and where a run was resumed. So each generator that reading draws from is
seeded for each sample, and afterwards put back to where it was: the training draws as if nothing had been read.

Nothing is seeded for data that draws nothing, and no probe tells which does. Each batch is read, and its generators are compared
before and after. If one has moved for the first time, it is put back, the batch is read again with that generator seeded, and so is
every batch from then on. All batches before are right: what draws nothing needs no seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch.utils.data import TensorDataset

from accel.data.randomness.find_generators import find_generators
from accel.data.randomness.tripwire import Drew, ReadInTurn, Tripwire, reads_ahead
from accel.data.sampling import generator_seed
from accel.device.generators import GeneratorHandle, drawing, global_generators
from accel.errors import ConfigError
from accel.system.call_stack import warn_user

__all__ = ["COLLATE", "MAX_GENERATORS", "STREAM", "WATCHED_PARTS", "Result", "SampleRandomness"]

Result = TypeVar("Result")
COLLATE = 512
"""Added to the number of a generator where it is seeded to collate a batch, not to read its first sample."""
STREAM = 2**40
"""The index of a stream as a whole, which no sample has."""
WATCHED_PARTS = 64
"""Parts of batches at which threads look, if samples are given random numbers of their own."""
MAX_GENERATORS = 500
"""Generators of one data set that are looked at, the global ones among them."""


class SampleRandomness:
    """The generators that one data set draws from.

    Args:
        data: the data set.
        seed: of the run.
        given: whether its samples are given random numbers of their own. Threads that read ahead look at such data at first only.
        at_once: whether the global generators, and no others, are seeded from the start. So nothing is read a second time.
    """

    def __init__(self, data: Any, seed: int, given: bool = False, at_once: bool = False) -> None:
        self.data, self.seed, self.given, self.parts = data, seed, given, 0
        self.trusted = type(data).__module__.startswith("accel.") or type(data) is TensorDataset
        """Whether it is known to draw nothing but what it is given."""
        self.moving: set[int] = set()
        """The generators that reading draws from, by number."""
        self.refusal = ""
        """A sentence that refuses data which draws; empty if it may."""
        self.handles: list[GeneratorHandle] = []
        self.searched = False
        self.watched: frozenset[int] = frozenset()
        """The generators that are seeded from the start, by number."""
        if at_once:
            self.handles, self.searched = global_generators(), True
            self.watched = frozenset(range(len(self.handles)))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs: it finds the generators of its own copy of the data set."""
        return vars(self) | {"handles": [], "searched": False}

    @property
    def draws(self) -> bool:
        """Whether reading is known to draw."""
        return bool(self.moving)

    def search(self) -> None:
        """Find the generators, in the same order whenever and wherever it is done."""
        handles = [*global_generators(), *find_generators(self.data)]
        if len(handles) > MAX_GENERATORS:
            warn_user(
                f"the data holds {len(handles) - 3:,} random generators, of which {MAX_GENERATORS - 3} are seeded for each sample: "
                "samples that draw from others differ between loaders and after a resume; hold one generator for all samples"
            )
        self.handles = handles[:MAX_GENERATORS]
        self.moving = {number for number in self.moving if number < len(self.handles)}

    def seed_sample(self, epoch: int, index: int, offset: int = 0) -> None:
        """Seed the generators that move, for one sample."""
        if self.moving and not reads_ahead():
            for number in self.moving:
                self.handles[number].seed(generator_seed(self.seed, epoch, index, number + offset))

    def seed_collate(self, epoch: int, first: int) -> None:
        """Seed the generators that move, to collate the batch that begins with sample `first`."""
        self.seed_sample(epoch, first, COLLATE)

    def read(self, action: Callable[[], Result], resume: Callable[[], Iterator[Any]]) -> Result:
        """Return the result of reading a batch, once nothing new has moved while it was read.

        Args:
            action: reads the batch, and seeds each sample by `seed_sample`.
            resume: returns the batches from this one on.

        Raises:
            ReadInTurn: in a thread that reads ahead, if it draws.
        """
        if self.trusted:
            return action()
        if reads_ahead():
            return self.read_ahead(action, resume)
        while True:
            result, moved = self.attempt(action)
            if not moved:
                return result[0]

    def read_ahead(self, action: Callable[[], Result], resume: Callable[[], Iterator[Any]]) -> Result:
        """Return the result of reading something that must draw nothing, in a thread beside the training.

        Raises:
            ReadInTurn: if it draws.
        """
        if self.draws:
            raise ReadInTurn(resume, certain=True)
        wire, results = self.tripwire(), list[Result]()
        try:
            with wire:
                results.append(action())
        except (Exception, Drew):
            if not wire.tripped:
                raise
        if wire.tripped:
            raise ReadInTurn(resume, certain=False)
        return results.pop()

    def tripwire(self) -> Tripwire:
        """Return a tripwire over all generators, for threads that read ahead."""
        if not self.handles:
            self.search()
        return Tripwire(self.handles, prevent=True)

    @contextmanager
    def watch(self, alarms: list[bool]) -> Iterator[None]:
        """Add to `alarms` if something draws inside the block, in a thread that reads ahead."""
        if self.trusted or (self.given and self.parts >= WATCHED_PARTS):
            yield
            return
        self.parts += 1
        wire = self.tripwire()
        try:
            with wire:
                yield
        finally:
            if wire.tripped:
                alarms.append(True)

    def attempt(self, action: Callable[[], Result]) -> tuple[list[Result], bool]:
        """Return the result of reading something, in a list, and whether a generator has moved that never did before.

        All generators are afterwards where they were.

        Raises:
            BaseException: of the reading, if nothing new has moved.
            ConfigError: if something has, and that is refused.
        """
        if not self.handles:
            self.search()
        snapshots, results = [handle.snapshot() for handle in self.handles], list[Result]()
        error: BaseException | None = None
        try:
            with drawing():
                results.append(action())
        except BaseException as raised:
            error = raised
        moved = {number for number, (mark, _) in enumerate(snapshots) if self.handles[number].mark() != mark}
        for number in moved:
            self.handles[number].restore(snapshots[number][1])
        if not self._add(moved - self.watched) or not isinstance(error, Exception | None):
            if error is not None:
                raise error
            return results, False
        if self.refusal:
            raise ConfigError(self.refusal)
        return results, True

    def _add(self, moved: set[int]) -> bool:
        """Add generators to those that move; return whether there are new ones, or some that the first reading has made."""
        before, known = len(self.moving), {id(handle.generator) for handle in self.handles}
        self.moving |= moved
        if self.searched:
            return len(self.moving) > before
        self.searched = True
        moving = {id(self.handles[number].generator) for number in self.moving}
        self.search()
        new = {id(handle.generator) for handle in self.handles} - known
        self.moving = {number for number, handle in enumerate(self.handles) if id(handle.generator) in moving | new}
        return len(self.moving) > before
