"""Lines of a file that belong to a run after so many updates: a resumed run goes on behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accel.system.append_log import AppendLog

__all__ = ["Position", "reopen", "still_missing", "valid_length"]

Position = Callable[[bytes], tuple[int, bool]]
"""Function of a line: its update, and whether it is that of the update itself, and not of the evaluation after it.

It raises ValueError, TypeError or KeyError for a line that the plugin has not written."""


def reopen(path: Path, position: Position, step: int, evaluated: bool, waiting: bytes = b"", head: int = 0) -> AppendLog:
    """Return a file that is cut off behind the last line of a run after `step` updates.

    Args:
        path: the file; it is created if it does not exist.
        position: of a line.
        step: updates that the run has done.
        evaluated: whether the run has evaluated since the last of them.
        waiting: lines that the disk had not taken by the checkpoint; those that the file still lacks are written.
        head: bytes that the file begins with, which are no lines.

    Raises:
        OSError: if it cannot be opened, or is a link or a pipe.
    """
    AppendLog(path).close()  # which refuses a link or a pipe before it is read
    data = path.read_bytes()[head:]
    kept = valid_length(data, step, evaluated, position)
    log = AppendLog(path, head + kept)
    log.write(still_missing(waiting, data[:kept]))
    return log


def still_missing(waiting: bytes, data: bytes) -> bytes:
    """Return the lines that the file lacks, of those that waited at the checkpoint: the disk may have taken them since."""
    lines = waiting.splitlines(keepends=True)
    last = data[data.rfind(b"\n", 0, -1) + 1 :]
    return b"".join(lines[lines.index(last) + 1 :] if last in lines else lines)


def valid_length(data: bytes, step: int, evaluated: bool, position: Position) -> int:
    """Return the bytes of a file of lines that belong to a run after `step` updates.

    Not counted are a torn last line, bytes that a power cut has left in place of lines, and later updates. Nor is an evaluation
    that the resumed run makes again.

    Args:
        data: content of the file.
        step: updates that the run has done.
        evaluated: whether the run has evaluated since the last of them.
        position: of a line.
    """
    end = data.rfind(b"\n") + 1
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        try:
            update, is_update = position(data[start:end])
            if update < step or (update == step and (is_update or evaluated)):
                break
        except (ValueError, TypeError, KeyError):
            """The line was not written by this plugin."""
        end = start
    return end
