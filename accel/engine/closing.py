"""Closing of a run's parts when it ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from accel.engine.run_directory import RunLock
from accel.parts import Parts, Watch
from accel.system.call_stack import warn_user
from accel.system.disk_errors import disk_reason

__all__ = ["close_at_end", "close_calmly"]


def close_at_end(cleanup: ExitStack, lock: RunLock, parts: Parts, watches: list[Watch]) -> None:
    """Register what must be closed at the end of the run. The last one registered is closed first."""
    cleanup.callback(watches.clear)  # most keep the run, which keeps them: what it holds is freed as soon as it ends
    cleanup.callback(lock.release)
    for owner, close in (
        ("backend", parts.backend.restore),
        ("parallel", parts.parallel.close),  # after everything that may still travel between the ranks
        ("loader", parts.loader.close),
        ("prefetch", parts.prefetch.close),  # before the loader that it reads from
        ("transfer", parts.transfer.close),
        ("compile", parts.compile.close),
        ("activations", parts.activations.close),
        ("objective", parts.objective.close),
        ("update", parts.update.close),
        ("precision", parts.precision.release),
        *((watch.name, watch.close) for watch in watches),
    ):
        cleanup.callback(close_calmly, owner, close)


def close_calmly(owner: str, close: Callable[[], object]) -> None:
    """Close a part. What the disk refuses then is a warning: it must not take the result of a run that is done."""
    try:
        close()
    except OSError as error:
        if isinstance(error, BrokenPipeError | ConnectionError | TimeoutError):  # no disk has a part in it
            raise
        place = f" of {error.filename}" if error.filename else ""
        warn_user(f"what {owner} writes could not be closed: {disk_reason(error)}{place}; look after its disk")
