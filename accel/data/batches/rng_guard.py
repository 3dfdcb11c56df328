"""Whether reading data draws from the global random generators, which the training draws from as well.

Python, numpy and torch have one global generator each for a whole process. Where reading a batch draws from one of them, a thread
that reads ahead would change what the training draws, and what it reads would depend on when it reads: such data is read when
its turn comes, and by nobody else.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from accel.errors import AccelWarning

__all__ = ["Item", "host_rng_state", "read_ahead_if_rng_free", "warn"]

Item = TypeVar("Item")


def host_rng_state() -> bytes:
    """Where the three stand; it changes with every number drawn on this host."""
    name, key, position, *rest = np.random.get_state()
    numpy = (str(name), np.asarray(key).tobytes(), position, rest)
    return repr((random.getstate(), numpy)).encode() + torch.get_rng_state().numpy().tobytes()


def read_ahead_if_rng_free(
    items: Iterator[Item], rest: Callable[[list[Item], int], Iterator[Item]], who: str = ""
) -> Iterator[Item]:
    """The same items; from the first on whose reading draws nothing they come through `rest`, which may read ahead.

    A sampler draws its seed with the first item and none later, so a second one is asked where the first has drawn. Where that has
    too, every item is read when its turn comes. Data that draws now and then, and not in its first batches, is not found out.

    Args:
        items: what is read.
        rest: `rest(head, passed)` gives the one item of `head`, which has been read, and all after it; `passed` came before it.
        who: is named in a warning where nothing is read ahead; nobody where it is empty.
    """
    for passed in range(2):
        before = host_rng_state()
        head = list(islice(items, 1))
        if not head:
            return
        if host_rng_state() == before:
            yield from rest(head, passed)
            return
        yield from head
    if who:
        warn(who)
    yield from items


def warn(who: str) -> None:
    """Says that `who` leaves each batch to its turn."""
    warnings.warn(
        f"{who} has no effect: the data draws from the global random numbers, as the training does, and is read when its turn "
        "comes; give the data set sample(index, rng), with random numbers of its own for each sample",
        AccelWarning,
        stacklevel=3,
    )
