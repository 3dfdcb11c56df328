"""How much memory a piece of work takes at its peak."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from typing import Any


def peak(work: Callable[[], Any], after: Callable[[], Any]) -> float:
    """Megabytes that a process of its own needs for `work` over what it needed for `after`, a small work that loads the same code.

    The process is a fork, so that nothing is imported or pickled; before it, this process must not have computed with more than
    one thread: OpenMP's threads do not survive a fork.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(work, after, there))
    process.start()
    there.close()
    try:
        found: float = here.recv()
    except EOFError:
        raise RuntimeError("the work failed in its own process; its error stands above") from None
    finally:
        process.join()
    return found


def _measure(work: Callable[[], Any], after: Callable[[], Any], answer: Any) -> None:
    after()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    answer.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
