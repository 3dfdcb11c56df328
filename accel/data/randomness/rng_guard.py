"""Guard of the random generators that both the data and the training may draw from.

If reading a batch draws from one of them, a thread that reads ahead would change the numbers of the training, and its data would
depend on when it reads. Such data is read by the training's own thread, each batch in its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any, TypeVar

import torch

from accel.data.randomness.tripwire import ReadInTurn
from accel.device.rng import host_rng_state
from accel.system.call_stack import warn_user

__all__ = ["MAX_ALARMS", "Item", "global_rng_state", "read_ahead_if_rng_free", "warn_no_read_ahead"]

Item = TypeVar("Item")
MAX_ALARMS = 8
"""False alarms after which the rest of an epoch is read in turn: the training draws from the same generators all the time."""


def global_rng_state() -> Any:
    """Return the state of the three generators, for comparison: it changes with every number drawn on this host."""
    return host_rng_state(), torch.get_rng_state().numpy().tobytes()


def read_ahead_if_rng_free(
    items: Iterator[Item], rest: Callable[[Iterator[Item], list[Item]], Iterator[Item]], reader: str = ""
) -> Iterator[Item]:
    """Yield the same items; from the first on whose reading draws nothing they come through `rest`, which may read ahead.

    A sampler draws its seed with the first item and none later. So if the first item has drawn, a second one is tried. If that has
    drawn too, every item is read in its turn. So it is from the item on at which `rest` raises ReadInTurn.

    Args:
        items: the items to read.
        rest: `rest(items, head)` yields the one item of `head`, which has been read, and all of `items` after it.
        reader: its name in the warning that nothing is read ahead; no warning if empty.
    """
    alarms, late = 0, False
    while alarms < MAX_ALARMS:
        head = yield from _first_without_draw(items)
        if head is None:
            return
        if not head:
            break
        try:
            yield from rest(items, head)
            return
        except ReadInTurn as signal:
            items, late = signal.resume(), signal.late or alarms > 0
            alarms += 1
            if signal.certain:
                break
    if reader:
        warn_no_read_ahead(reader, late)
    yield from items


def _first_without_draw(items: Iterator[Item]) -> Generator[Item, None, list[Item] | None]:
    """Yield an item whose reading draws; return the next one in a list if its reading does not, or None after the last item."""
    for _ in range(2):
        state = global_rng_state()
        head = list(islice(items, 1))
        if not head:
            return None
        if global_rng_state() == state:
            return head
        yield from head
    return []


def warn_no_read_ahead(reader: str, late: bool = False) -> None:
    """Warn that `reader` reads each batch in its turn.

    Args:
        reader: its name.
        late: whether some were read ahead before.
    """
    since = "; it began to after some had been read ahead, which may have moved what the training draws" if late else ""
    warn_user(
        f"{reader} has no effect: the data draws from the global random numbers, as the training does, and is read when its turn "
        f"comes{since}; read it by workers, or give the data set sample(index, rng), with random numbers of its own for each sample"
    )
