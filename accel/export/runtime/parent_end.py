"""The end of a process with the one that started it, where the system can be told so."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["end_with_parent"]

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl.h."""


def end_with_parent() -> None:
    """Let this process be killed when its parent ends, however it ends: an engine that hangs is left behind by nobody.

    Only Linux has this. Elsewhere a process ends by itself when it looks for the next call.
    """
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended just now
            os._exit(1)
