"""Guard of the global random generators, which both the data and the training may draw from.

Python, numpy and torch have one global generator each for a whole process. If reading a batch draws from one of them, a thread
that reads ahead would change the numbers of the training. Its data would depend on when it reads. Such data is read by the
training's own thread, each batch in its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch

from accel.device.rng import host_rng_state
from accel.system.call_stack import warn_user

__all__ = ["Item", "global_rng_state", "read_ahead_if_rng_free", "warn_no_read_ahead"]

Item = TypeVar("Item")


def global_rng_state() -> Any:
    """Return the state of the three generators, for comparison: it changes with every number drawn on this host."""
    return host_rng_state(), torch.get_rng_state().numpy().tobytes()


def read_ahead_if_rng_free(
    items: Iterator[Item], rest: Callable[[list[Item], int], Iterator[Item]], reader: str = ""
) -> Iterator[Item]:
    """Yield the same items; from the first on whose reading draws nothing they come through `rest`, which may read ahead.

    A sampler draws its seed with the first item and none later. So if the first item has drawn, a second one is tried. If that has
    drawn too, every item is read in its turn. Data that draws now and then, and not in its first batches, is not detected.

    Args:
        items: the items to read.
        rest: `rest(head, passed)` yields the one item of `head`, which has been read, and all after it; `passed` items came before.
        reader: its name in the warning that nothing is read ahead; no warning if empty.
    """
    for passed in range(2):
        state = global_rng_state()
        head = list(islice(items, 1))
        if not head:
            return
        if global_rng_state() == state:
            yield from rest(head, passed)
            return
        yield from head
    if reader:
        warn_no_read_ahead(reader)
    yield from items


def warn_no_read_ahead(reader: str) -> None:
    """Warn that `reader` reads each batch in its turn."""
    warn_user(
        f"{reader} has no effect: the data draws from the global random numbers, as the training does, and is read when its turn "
        "comes; give the data set sample(index, rng), with random numbers of its own for each sample"
    )
