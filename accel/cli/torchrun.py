"""The processes that torchrun starts for one run."""

from __future__ import annotations

import os
import re
from time import sleep

from accel.cli.compose.config import Config
from accel.errors import ConfigError

__all__ = [
    "GRACE",
    "LOST",
    "agree_on_directory",
    "defer_to_rank_zero",
    "lost_peer_message",
    "program",
    "rank",
    "require_named_directory",
    "require_parallel_plugin",
    "world_size",
]

GRACE = 10.0
"""Seconds; processes of one run start within a few of each other."""

LOST = r"gloo|NCCL|[Cc]onnection (closed|reset)|[Bb]roken pipe|pair closure"
"""What errors say that another process, or the network, is the cause of."""


def rank() -> int:
    """This process's number, from 0; 0 where torchrun started none."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def program() -> list[str]:
    """How torchrun was started for these processes, without the arguments. Where its nodes meet, it keeps to itself."""
    nodes, here = int(os.environ.get("GROUP_WORLD_SIZE", "1")), os.environ.get("LOCAL_WORLD_SIZE", str(world_size()))
    apart = [f"--nnodes={nodes}", "--rdzv-backend=c10d", "--rdzv-endpoint=HOST:PORT"] if nodes > 1 else []
    ours = ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"] if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "False" else []
    return [*ours, "torchrun", *apart, f"--nproc-per-node={here}", "-m", "accel.train"]


def defer_to_rank_zero() -> None:
    """Waits, in any process but the first, before it says what all of them have found.

    torchrun ends every process as soon as one has failed: were this one the quicker, the first would be ended before it has
    said why. Now the first fails, and this one is ended while it waits; where only this one has found something, it says so.
    """
    if rank() > 0:
        sleep(GRACE)


def lost_peer_message(error: Exception) -> str:
    """What to say of an error that another process has caused by its end, or the network by its silence; empty for any other."""
    text = " ".join(str(error).split())
    lost = world_size() > 1 and re.search(LOST, text)
    return f"accel: error: rank {rank()} has lost another rank, which says why ({text[:120]})" if lost else ""


def require_parallel_plugin(config: Config, count: int | None = None) -> None:
    """Raises ConfigError where several processes would each train the whole run by themselves: `count`, or those there are."""
    if (count or world_size()) > 1 and not any(plugin.part == "Parallel" for plugin in config.plugins.values()):
        who = f"torchrun started {world_size()} processes" if count is None else f"a job has {count} processes"
        raise ConfigError(f"{who}, and no plugin makes them train together: start one process, or add +plugins=[ddp]")


def require_named_directory(config: Config) -> None:
    """Raises ConfigError where processes that torchrun begins anew could not find the run directory of those before them."""
    settings, told = config.settings, os.environ
    forgotten = told.get("TORCHELASTIC_USE_AGENT_STORE") == "False" and told.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if forgotten and not (settings.out or settings.resume or settings.dry_run):
        raise ConfigError(
            "with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 processes that torchrun begins anew cannot ask those before them for "
            "their run directory; name it: out=DIR"
        )


def agree_on_directory(mine: str) -> str:
    """What the first process to ask proposed: one run directory, however far apart the processes start.

    They ask the table that torchrun keeps, where a restarted process finds what was agreed before; or the first of them keeps it.
    """
    if world_size() == 1:
        return mine
    from torch._C._distributed_c10d import PrefixStore

    from accel.system.rendezvous import open_store

    store = PrefixStore("accel/run", open_store(60))
    return store.compare_set("directory", "", mine).decode()
