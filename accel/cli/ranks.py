"""The processes that torchrun starts for one run."""

from __future__ import annotations

import os
from datetime import timedelta
from time import sleep

from accel.cli.config import Config
from accel.errors import ConfigError

GRACE = 10.0
"""Seconds; processes of one run start within a few of each other."""


def rank() -> int:
    """This process's number, from 0; 0 where torchrun started none."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def let_the_first_speak() -> None:
    """Waits, in any process but the first, before it says what all of them have found.

    torchrun ends every process as soon as one has failed: were this one the quicker, the first would be ended before it has
    said why. Now the first fails, and this one is ended while it waits; where only this one has found something, it says so.
    """
    if rank() > 0:
        sleep(GRACE)


def together(config: Config) -> None:
    """Raises ConfigError where several processes would each train the whole run by themselves."""
    if world_size() > 1 and not any(plugin.part == "Parallel" for plugin in config.plugins.values()):
        raise ConfigError(
            f"torchrun started {world_size()} processes, and no plugin makes them train together: start one process, "
            "or add a plugin that provides Parallel"
        )


def agree(mine: str) -> str:
    """What the first process to ask proposed: one run directory, however far apart the processes start.

    They ask the store that torchrun keeps; a restarted process finds there what was agreed before.
    """
    if world_size() == 1:
        return mine
    from torch._C._distributed_c10d import PrefixStore, TCPStore

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = PrefixStore("accel/run", TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60)))
    return store.compare_set("directory", "", mine).decode()
