"""A lock on all files: what is locked can read, and neither write, make, move or remove anything, nor connect to another machine.

Source: Landlock, landlock(7) of Linux from 5.13 on, by its system calls; C libraries have no functions for them.
"""

from __future__ import annotations

import ctypes
import struct
import sys

__all__ = ["can_lock_writes", "lock_writes"]

CREATE_RULESET, RESTRICT_SELF = 444, 446
"""Numbers of the system calls, the same on all processors that Linux has had since."""
SET_NO_NEW_PRIVILEGES = 38
VERSION_FLAG = 1
WRITES = (1 << 1) | sum(1 << bit for bit in range(4, 13))
"""Writing to a file; removing and making files and folders of all kinds."""
LATER = {2: 1 << 13, 3: 1 << 14}
"""What later versions can forbid: moving files between folders, and cutting them off."""
TCP, SCOPES = 0b11, 0b11
"""Binding and connecting (version 4); sockets without a path and signals of other processes (version 6)."""


def can_lock_writes() -> bool:
    """Return whether this system has the lock."""
    return _version() >= 1


def lock_writes() -> None:
    """Lock this thread, and whatever it starts from here on, for good. Files that are open stay open.

    Raises:
        OSError: if the system does not have the lock.
    """
    version, library = _version(), ctypes.CDLL(None, use_errno=True)
    files = WRITES | sum(bit for since, bit in LATER.items() if version >= since)
    rules = struct.pack("=QQQ", files, TCP, SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = library.syscall(CREATE_RULESET, rules, len(rules), 0) if version >= 1 else -1
    if ruleset < 0 or library.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.syscall(RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "this system cannot keep a process from writing")


def _version() -> int:
    """Return the version of the lock; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, 0, VERSION_FLAG)))
