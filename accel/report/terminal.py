"""The one place where lines leave for the terminal: no name in them can obey it."""

from __future__ import annotations

from typing import TextIO

from accel.errors import visible

__all__ = ["say"]


def say(text: object = "", *, start: str = "", end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print a text as `print` does, with every character shown that a terminal would obey or hide, but ends of lines and tabs.

    Args:
        text: what is printed.
        start: printed before it as it is, such as a carriage return.
        end: printed behind it as it is.
        file: stream; standard output if it is None.
        flush: whether the stream is flushed.
    """
    print(start + visible(str(text), keep="\n\t"), end=end, file=file, flush=flush)
