"""End of a process group in order: what is under way has arrived, every rank is there, and no thread of torch's is left busy.

A thread of gloo lets go of its tensors only after it has reported them as sent, and takes Python's lock for that. If Python is
ending meanwhile, it ends the thread, and the process with it: "terminate called without an active exception", exit code 1. If the
last reference to the group goes meanwhile, the main thread waits for that thread with the lock in its hands, forever (torch 2.13).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import torch.distributed as dist

from accel.parts.shared.ranks.rank_failures import FAREWELL, GRACE, RankFailures

__all__ = ["GLOO_THREAD", "busy_threads", "end_group", "wait_for_threads"]

GLOO_THREAD = "pt_gloo_runloop"
"""Name of the threads that carry tensors."""


def end_group(host: Any, is_own: bool, failures: RankFailures, vote: Any, stop_requested: Callable[[], bool]) -> None:
    """End the groups of a run. Their connections end when nothing refers to them any more.

    The ranks wait for one another first, if none has failed.

    Args:
        host: group for decisions.
        is_own: whether the group of all ranks is the run's own, and not the user's.
        failures: the table of the ranks' errors.
        vote: the last vote, which may still be under way; None if there is none.
        stop_requested: whether a signal has asked this process to stop, so that it waits for no other.
    """
    failures.leave()
    if (
        not failures.published
        and not failures.lost_peer
        and failures.wait_until_all_leave(FAREWELL, stop_requested)
        and vote is not None
    ):
        since = monotonic()
        while not vote[0].is_completed() and monotonic() - since < GRACE:
            sleep(0.001)
    _destroy(host, is_own)


def _destroy(host: Any, is_own: bool) -> None:
    wait_for_threads()
    with suppress(ValueError, AssertionError):  # the user's group is gone already, and this one with it
        dist.destroy_process_group(None if is_own else host)


def wait_for_threads(seconds: float = GRACE) -> None:
    """Wait until the threads of gloo rest, for `seconds` at most. Python's lock is free meanwhile."""
    since, resting = monotonic(), 0
    while resting < 2 and monotonic() - since < seconds:
        sleep(0.001)  # a thread that waits for the lock gets it now, and is seen to run then
        resting = 0 if busy_threads() else resting + 1


def busy_threads() -> int:
    """Return the number of gloo's threads that run or could run; 0 where the system does not tell."""
    busy = 0
    for file in Path("/proc/self/task").glob("*/stat"):
        with suppress(OSError):  # it has ended
            name, _, rest = file.read_text().partition("(")[2].rpartition(")")
            busy += name == GLOO_THREAD and rest.split()[0] == "R"
    return busy
