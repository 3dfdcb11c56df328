"""Meeting of the ranks in the store by which they find each other, also of one that cannot take part, to say why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from time import monotonic, sleep
from uuid import uuid4

from torch._C._distributed_c10d import PrefixStore, Store

from accel.errors import ConfigError
from accel.parts.shared.ranks.rank_failures import GRACE, RankFailures, decode, encode, is_known
from accel.system.rendezvous import open_store

__all__ = ["ANNOUNCEMENT", "FAILED", "announce", "announcing", "rendezvous"]

ANNOUNCEMENT = 5.0
"""Seconds for which a rank that fails before it has met the others waits for them, to tell them why."""
FAILED = "!"
"""End of the name of a process that cannot take part."""


def rendezvous(store: Store, rank: int, world_size: int, timeout: float, failure: str = "") -> Store:
    """Return a part of the store for these very processes, whichever processes died in it before them.

    Processes that torchrun restarts find in its store the addresses of the dead ones, and would wait for them forever. Its count
    of restarts does not tell them apart: each node has its own. So every process leaves a new name. The first puts the names
    together, and the others confirm that theirs is among them. The names that all have confirmed name the part of the store.

    A process that cannot take part comes all the same, to say why.

    Args:
        store: the store of all processes.
        rank: of this process.
        world_size: number of processes.
        timeout: seconds to wait for the others.
        failure: why this process cannot take part, as `encode` writes it; empty if it can.

    Raises:
        TimeoutError: if not all of them come within `timeout` seconds.
        ConfigError: that of a process which cannot take part; likewise a TrainingError.
    """
    name, since = uuid4().hex + (FAILED if failure else ""), monotonic()
    if failure:
        store.set(f"accel/failure/{name}", failure)
    store.set(f"accel/here/{rank}", name)
    while not (names := _confirmed_names(store, rank, world_size, name)):
        if monotonic() - since > timeout:
            raise TimeoutError(f"not within {timeout:g} seconds")
        sleep(0.01)
    corner = PrefixStore(_corner(names), store)
    failed = next((name for name in names if name.endswith(FAILED)), None)
    if failed is not None:
        error = decode(store.get(f"accel/failure/{failed}"))
        failures = RankFailures(corner, rank, world_size)
        failures.leave()
        failures.wait_until_all_leave(GRACE)  # one of them may serve the store
        raise error
    return corner


def _confirmed_names(store: Store, rank: int, world_size: int, name: str) -> list[str]:
    """Confirm the list of names if `name` is in its place there. Return it once all have confirmed it; until then an empty one."""
    names = _collected_names(store, rank, world_size)
    if names[rank : rank + 1] != [name]:
        return []
    corner = _corner(names)
    store.set(f"{corner}/{rank}", "")
    if not store.check([f"{corner}/{other}" for other in range(world_size)] if rank == 0 else [f"{corner}/done"]):
        return []
    store.set(f"{corner}/done", "")
    return names


def _collected_names(store: Store, rank: int, world_size: int) -> list[str]:
    """Return the newest names of all processes, which the first rank puts together; an empty list until there are as many."""
    keys = [f"accel/here/{other}" for other in range(world_size)] if rank == 0 else ["accel/names"]
    if not store.check(keys):  # to get what is not there yet is to wait where no signal is heard
        return []
    names = " ".join(store.get(key).decode() for key in keys)
    if rank == 0:
        store.set("accel/names", names)
    return names.split()


def _corner(names: list[str]) -> str:
    """Return the prefix of the part of the store that belongs to processes of these names."""
    return "accel/" + sha256(" ".join(names).encode()).hexdigest()[:16]


def announce(error: Exception) -> None:
    """Tell the other ranks why this one will not come, if they come to meet it within `ANNOUNCEMENT` seconds."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or any(name not in os.environ for name in ("RANK", "MASTER_ADDR", "MASTER_PORT")):
        return
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    vars(error)["known_to_all_ranks"] = True
    with suppress(TimeoutError, RuntimeError, ConfigError):  # the last is this very error, which comes back
        rendezvous(open_store(ANNOUNCEMENT), rank, world_size, ANNOUNCEMENT, encode(error, rank))


@contextmanager
def announcing() -> Iterator[None]:
    """Context in which an error is told to the ranks that wait to meet this one."""
    try:
        yield
    except Exception as error:
        if not is_known(error):
            announce(error)
        raise
