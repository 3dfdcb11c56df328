"""Processes that torchrun starts for one run: their ranks, their errors and their run directory."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from accel.errors import ConfigError
from accel.system.stop_signals import TORCHRUN_VARIABLE

if TYPE_CHECKING:
    from accel.cli.compose.config import Config

__all__ = [
    "DEFER_SECONDS",
    "LAUNCHER",
    "LOST_PEER",
    "agree_on_directory",
    "announce_failure",
    "defer_to_rank_zero",
    "lost_peer_message",
    "program",
    "rank",
    "require_named_directory",
    "require_parallel_plugin",
    "world_size",
]

DEFER_SECONDS = 10.0
"""Seconds that ranks > 0 wait before they print an error; the processes of a run start within a few of each other."""

LAUNCHER = "torch.distributed.run"
"""The module that torchrun is."""
LOST_PEER = r"gloo|NCCL|[Cc]onnection (closed|reset)|[Bb]roken pipe|pair closure"
"""Words of errors that another process, or the network, is the cause of."""


def rank() -> int:
    """Return the rank of this process, from 0; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return the number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def program() -> list[str]:
    """Return the command that starts torchrun as it was started, without the arguments of `accel.train`.

    Where the system does not tell the command of the parent process, it is put together from what torchrun passes on. HOST:PORT
    stands for the endpoint of several nodes then, which is not passed on.
    """
    return [*(["TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"] if _own_store() else []), *(_parent_command() or _rebuilt_command())]


def _parent_command() -> list[str]:
    """Return the words that torchrun was started with, up to those of this program; none if the parent is no torchrun."""
    try:
        words = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
    except OSError:
        return []
    arguments = sys.argv[1:]
    cut = len(words) - len(arguments)
    if words[cut:] != arguments:
        return []
    own = words[:cut]
    start = next((place for place, word in enumerate(own) if Path(word).name == "torchrun" or word == LAUNCHER), None)
    if start is None:
        return []
    return ["torchrun", *own[start + 1 :]]


def _rebuilt_command() -> list[str]:
    nodes, local = int(os.environ.get("GROUP_WORLD_SIZE", "1")), os.environ.get("LOCAL_WORLD_SIZE", str(world_size()))
    rendezvous = [f"--nnodes={nodes}", "--rdzv-backend=c10d", "--rdzv-endpoint=HOST:PORT"] if nodes > 1 else []
    standalone = ["--standalone"] if nodes == 1 and os.environ.get(TORCHRUN_VARIABLE, "none") != "none" else []
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    again = [f"--max-restarts={restarts}"] if restarts != "0" else []
    return ["torchrun", *standalone, *rendezvous, f"--nproc-per-node={local}", *again, "-m", "accel.train"]


def _own_store() -> bool:
    """Return whether each attempt of torchrun has a rendezvous store of its own, which forgets earlier attempts."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "False"


def defer_to_rank_zero() -> bool:
    """Wait on ranks > 0 under torchrun, so that rank 0 prints the error that all ranks have. Return whether it has.

    torchrun ends all processes as soon as one fails. So rank 0 fails first, and this rank is asked to end while it waits. If only
    this rank has the error, it prints it afterwards. Other launchers end nobody, and each rank prints.
    """
    if rank() == 0 or TORCHRUN_VARIABLE not in os.environ or threading.current_thread() is not threading.main_thread():
        return False
    ended: list[int] = []

    def end(number: int, frame: object) -> None:
        ended.append(number)
        raise InterruptedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        sleep(DEFER_SECONDS)
    except InterruptedError:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
    return bool(ended)


def announce_failure(error: Exception) -> None:
    """Tell ranks that wait to meet this one why it will not come; nothing for a process that is alone."""
    if world_size() > 1 and not getattr(error, "known_to_all_ranks", False):
        from accel.parts.shared.ranks.rank_meeting import announce

        announce(error)


def lost_peer_message(error: Exception) -> str:
    """Return a sentence for an error that the end of another rank, or the network, has caused; empty for any other error."""
    text = " ".join(str(error).split())
    lost = world_size() > 1 and re.search(LOST_PEER, text)
    return f"accel: error: rank {rank()} has lost another rank, which says why ({text[:120]})" if lost else ""


def require_parallel_plugin(config: Config, count: int | None = None) -> None:
    """Raise ConfigError if several processes would each train the whole run by themselves.

    Args:
        config: the run.
        count: number of processes; None for those that torchrun started.
    """
    if (count or world_size()) > 1 and not any(plugin.part == "Parallel" for plugin in config.plugins.values()):
        subject = f"torchrun started {world_size()} processes" if count is None else f"a job has {count} processes"
        raise ConfigError(f"{subject}, and no plugin makes them train together: start one process, or add +plugins=[ddp]")


def require_named_directory(config: Config) -> None:
    """Raise ConfigError if processes that torchrun restarts could not find the run directory of those before them."""
    settings = config.settings
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if _own_store() and restarts and not (settings.out or settings.resume or settings.dry_run):
        raise ConfigError(
            "with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 processes that torchrun begins anew cannot ask those before them for "
            "their run directory; name it: out=DIR"
        )


def agree_on_directory(proposal: str) -> str:
    """Return one run directory for all ranks: the proposal of the rank that asks first.

    The answer is in the rendezvous store that torchrun keeps, so a restarted process gets the same one. Without that store,
    rank 0 keeps one.
    """
    if world_size() == 1:
        return proposal
    from torch._C._distributed_c10d import PrefixStore

    from accel.system.rendezvous import open_store

    store = PrefixStore("accel/run", open_store(60))
    return store.compare_set("directory", "", proposal).decode()
