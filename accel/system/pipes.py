"""Output whose reader may leave: `python -m accel.train | head -1` trains to the end."""

from __future__ import annotations

import os
from typing import Any, TextIO, cast

__all__ = ["BrokenPipeSafe", "survive_broken_pipe"]


def survive_broken_pipe(stream: TextIO) -> TextIO:
    """Return the stream in a wrapper that drops its output once nobody reads it any longer."""
    return cast(TextIO, BrokenPipeSafe(stream))


class BrokenPipeSafe:
    """A text stream that drops its output once nobody reads it any longer; in all else it is `stream`.

    Args:
        stream: a text stream with a file descriptor.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it, and return its length."""
        try:
            self.stream.write(text)
        except BrokenPipeError:
            self.drop()
        return len(text)

    def flush(self) -> None:
        """Flush the stream, or drop its content."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """Send further output to this file descriptor, whoever writes it, to the null device."""
        null_device = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_device, self.stream.fileno())
        os.close(null_device)
