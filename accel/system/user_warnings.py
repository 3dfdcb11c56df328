"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings

from accel.errors import AccelWarning
from accel.system.call_stack import is_user_code

__all__ = ["warn_user"]


def warn_user(message: str) -> None:
    """Emit an AccelWarning at the innermost line of the user's code, however deep the call is inside accel."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and not is_user_code(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, AccelWarning, stacklevel=level + 1)
