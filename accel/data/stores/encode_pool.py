"""Pictures encoded by several processes, in order."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from threading import Thread

from accel.data.store import Store
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.record_format import Content
from accel.errors import ConfigError

__all__ = ["AHEAD", "CHUNK", "WORK", "Bad", "encoded", "one"]

CHUNK = 16
"""Pictures per task."""
AHEAD = 4
"""Tasks per process that may be under way or wait to be taken."""


@dataclass(frozen=True)
class Bad:
    """A picture that cannot be read, and why."""

    why: str


def encoded(source: Store, recipe: Recipe, numbers: Sequence[int], workers: int) -> Iterator[tuple[int, Content | Bad]]:
    """Each of `numbers` with what is to be stored of it, in order, whatever the number of processes.

    Raises:
        ConfigError: where a process dies.
    """
    if workers == 1 or len(numbers) <= CHUNK:
        for number in numbers:
            yield number, one(source, recipe, number)
        return
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    # spawned: a fork would inherit whatever locks and open files this process has
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (source, recipe)) as pool:
        running: deque[tuple[Sequence[int], Future[list[Content | Bad]]]] = deque()
        try:
            for chunk in chunks:
                running.append((chunk, pool.submit(_chunk, chunk)))
                if len(running) >= AHEAD * workers:
                    yield from _taken(*running.popleft())
            while running:
                yield from _taken(*running.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def one(source: Store, recipe: Recipe, number: int) -> Content | Bad:
    """What is to be stored of one picture."""
    try:
        return recipe.apply(source.get(number), source.name(number), source.encoding, source.label(number))
    except ConfigError as error:
        return Bad(str(error))


def _taken(chunk: Sequence[int], future: Future[list[Content | Bad]]) -> Iterator[tuple[int, Content | Bad]]:
    try:
        yield from zip(chunk, future.result(), strict=True)
    except BrokenProcessPool:
        raise ConfigError(
            f"a process that encodes pictures died near picture {chunk[0]} (out of memory?); "
            "give the same command again with fewer --workers, and it goes on from there"
        ) from None


WORK: list[tuple[Store, Recipe]] = []
"""Of this process, where it is one that encodes."""


def _begin(source: Store, recipe: Recipe) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts them all, and the first of them ends the others
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    WORK[:] = [(source, recipe)]


def _end_with(parent: BaseProcess | None) -> None:
    """Ends this process when its parent does, however that ends: the pool's pipes would keep it waiting for ever."""
    if parent is not None:
        parent.join()
        os._exit(1)


def _chunk(numbers: Sequence[int]) -> list[Content | Bad]:
    source, recipe = WORK[0]
    return [one(source, recipe, number) for number in numbers]
