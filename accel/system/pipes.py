"""Output whose reader may leave: `python -m accel.train | head -1` trains to the end."""

from __future__ import annotations

import os
from typing import Any, TextIO, cast

__all__ = ["BrokenPipeSafe", "survive_broken_pipe"]


def survive_broken_pipe(stream: TextIO) -> TextIO:
    """The same stream, that goes nowhere from when nobody reads it any longer."""
    return cast(TextIO, BrokenPipeSafe(stream))


class BrokenPipeSafe:
    """A stream of text that goes nowhere from when nobody reads it any longer; in all else it is `stream`."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Writes it, or drops it."""
        try:
            self.stream.write(text)
        except BrokenPipeError:
            self.drop()
        return len(text)

    def flush(self) -> None:
        """Hands on what was written."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """From now on, whatever is written there, by anyone, goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)
