"""A process that can do nothing to anything but itself."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from accel.data.loaders.worker_process import reset_signal_handlers
from accel.diagnose.watch_trial.unnamed_files import UnnamedFiles
from accel.diagnose.watch_trial.write_lock import lock_writes

__all__ = ["REFUSED", "enclose"]

REFUSED = {
    "socket.connect": "it talks to another process",
    "socket.sendto": "it talks to another process",
    "subprocess.Popen": "it starts a process",
    "os.system": "it starts a process",
    "os.exec": "it starts a process",
    "os.posix_spawn": "it starts a process",
    "os.kill": "it sends a signal",
    "sqlite3.connect": "it opens a database",
}
"""What is refused, by the name of Python's audit event, and why, in words."""


def enclose(keep: Collection[int], folder: Path) -> None:
    """Keep this process, a fork, from changing anything outside of itself, for good.

    What it has open to write to, pipes and sockets among it, leads nowhere from here on.

    Args:
        keep: descriptors that stay as they are.
        folder: whose disk the files lie on that it writes all the same.

    Raises:
        OSError: if the system cannot.
    """
    reset_signal_handlers()
    files = UnnamedFiles(folder)
    tempfile.tempdir = str(folder)
    _detach({*keep, *files.unused})
    lock_writes()
    files.install()
    sys.addaudithook(_refuse)


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in REFUSED:
        raise PermissionError(REFUSED[event])


def _detach(keep: Collection[int]) -> None:
    """Let every descriptor that something can be sent through lead nowhere, but for some."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor in keep or descriptor == nowhere:
            continue
        try:
            kind = os.fstat(descriptor).st_mode
            if _leads_out(descriptor, kind):
                os.dup2(nowhere, descriptor)
        except OSError:  # the one that listed them
            continue


def _leads_out(descriptor: int, kind: int) -> bool:
    import fcntl

    writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    return stat.S_ISSOCK(kind) or (writes and not stat.S_ISDIR(kind))
