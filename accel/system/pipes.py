"""Output that may fail: `python -m accel.train | head -1`, `>&-` and a full disk do not end what is being done."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOBase
from typing import Any, TextIO, cast

from accel.system.call_stack import warn_user

__all__ = ["FailSafeStream", "NullStream", "open_missing", "survive_broken_pipe"]


def open_missing() -> None:
    """Open the null device for each standard stream that is closed (`>&-`).

    Otherwise the next file that is opened takes its number, and what any library prints goes into that file.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        """It has taken the number of a stream that was closed, and stays."""
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # Python found it closed
            setattr(sys, name, NullStream())


def survive_broken_pipe(stream: TextIO | None) -> TextIO:
    """Return the stream in a wrapper that drops what cannot be written. None, a stream that was closed, is the null device."""
    if isinstance(stream, FailSafeStream):
        return cast(TextIO, stream)
    return cast(TextIO, FailSafeStream(NullStream() if stream is None else stream))


class NullStream(TextIOBase):
    """A text stream in place of one that was closed: it drops all."""

    def write(self, text: str) -> int:
        """Drop the text, and return its length."""
        return len(text)


class FailSafeStream:
    """A text stream that drops its output once nobody reads it any longer; in all else it is `stream`.

    If there is no room for it (a log file on a full disk), the output is lost until there is, and one warning says so.

    Args:
        stream: a text stream.
        required: whether the output is all that a command is for; then nothing is warned of, and `failure` is an error.
    """

    def __init__(self, stream: Any, required: bool = False) -> None:
        self.stream, self.required = NullStream() if stream is None else stream, required
        self.failure = ""
        """Why output was lost, although somebody wants it; empty if none was."""
        self.dropped = False
        """Whether nothing is written any more."""
        self.reader_gone = False
        """Whether nobody reads it any longer, so that more need not be made."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def isatty(self) -> bool:
        """Return whether this is a terminal; a closed stream is none."""
        return not self.stream.closed and bool(self.stream.isatty())

    def write(self, text: str) -> int:
        """Write the text, or drop it, and return its length."""
        if not self.dropped:
            try:
                self.stream.write(text)
            except (OSError, ValueError) as error:
                self.drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or drop its content."""
        if not self.dropped:
            try:
                self.stream.flush()
            except (OSError, ValueError) as error:
                self.drop(error)

    def drop(self, error: Exception) -> None:
        """Drop what the stream holds. If its reader is gone, send all further output, whoever writes it, to the null device."""
        if isinstance(error, UnicodeError):
            raise error
        gone = self.reader_gone = isinstance(error, BrokenPipeError | ValueError)
        try:
            number = self.stream.fileno()
            kept = None if gone else os.dup(number)
        except (OSError, ValueError):  # closed, or no file
            self.dropped = True
            return
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, number)
        os.close(null_device)
        if kept is not None:
            with suppress(OSError):
                self.stream.flush()  # what it holds would fail again at the end of the process
            os.dup2(kept, number)
            os.close(kept)
            first, self.failure = not self.failure, getattr(error, "strerror", "") or str(error)
            if first and not self.required and sys.stderr not in (self, self.stream):
                warn_user(f"the output cannot be written ({self.failure}); what would stand there is lost, and the run goes on")
