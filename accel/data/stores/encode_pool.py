"""Pool of processes that encode pictures, in order."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

from accel.data.store import Store
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.record_format import EncodedPicture
from accel.device.cpu.parent_watch import end_with_parent
from accel.errors import ConfigError

__all__ = ["CHUNK", "TASKS_PER_WORKER", "WORK", "UnreadablePicture", "encode_all", "encode_one"]

CHUNK = 16
"""Pictures per task."""
TASKS_PER_WORKER = 4
"""Tasks per process that may be under way or wait to be taken."""


@dataclass(frozen=True)
class UnreadablePicture:
    """Picture that cannot be read, and the reason as a sentence."""

    reason: str


def encode_all(
    source: Store, recipe: Recipe, numbers: Sequence[int], workers: int
) -> Iterator[tuple[int, EncodedPicture | UnreadablePicture]]:
    """Yield each of `numbers` with its encoded picture, in order, whatever the number of processes.

    Args:
        source: Store to read from.
        recipe: How pictures are encoded.
        numbers: Indices of the pictures in the source.
        workers: Processes; 1 encodes in this process.

    Raises:
        ConfigError: If a process dies.
    """
    if workers == 1 or len(numbers) <= CHUNK:
        for number in numbers:
            yield number, encode_one(source, recipe, number)
        return
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    # spawned: a fork would inherit whatever locks and open files this process has
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (source, recipe)) as pool:
        running: deque[tuple[Sequence[int], Future[list[EncodedPicture | UnreadablePicture]]]] = deque()
        try:
            for chunk in chunks:
                running.append((chunk, pool.submit(_encode_chunk, chunk)))
                if len(running) >= TASKS_PER_WORKER * workers:
                    yield from _results(*running.popleft())
            while running:
                yield from _results(*running.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def encode_one(source: Store, recipe: Recipe, number: int) -> EncodedPicture | UnreadablePicture:
    """Return picture `number` of the source, encoded."""
    try:
        return recipe.apply(source.get(number), source.name(number), source.encoding, source.label(number))
    except ConfigError as error:
        return UnreadablePicture(str(error))


def _results(
    chunk: Sequence[int], future: Future[list[EncodedPicture | UnreadablePicture]]
) -> Iterator[tuple[int, EncodedPicture | UnreadablePicture]]:
    """Yield the numbers of a chunk with their results, once they are there."""
    try:
        yield from zip(chunk, future.result(), strict=True)
    except BrokenProcessPool:
        raise ConfigError(
            f"a process that encodes pictures died near picture {chunk[0]} (out of memory?); "
            "give the same command again with fewer --workers, and it goes on from there"
        ) from None


WORK: list[tuple[Store, Recipe]] = []
"""Source and recipe of this process, if it is one that encodes."""


def _start_worker(source: Store, recipe: Recipe) -> None:
    """Prepare this process for encoding."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts them all, and the first of them ends the others
    end_with_parent()  # the pool's pipes would keep it waiting for ever
    WORK[:] = [(source, recipe)]


def _encode_chunk(numbers: Sequence[int]) -> list[EncodedPicture | UnreadablePicture]:
    """Return the encoded pictures of `numbers`, in this process."""
    source, recipe = WORK[0]
    return [encode_one(source, recipe, number) for number in numbers]
