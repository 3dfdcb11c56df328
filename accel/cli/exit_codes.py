"""Exit codes of every command: 0 done, 1 failed, 2 something typed cannot work, 75 stopped by a signal, 130 interrupted."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO, cast

from accel.cli import torchrun
from accel.errors import AccelWarning, ConfigError, Interrupted, MovedWarning, TrainingError
from accel.report.terminal import say
from accel.system.pipes import FailSafeStream, open_missing, survive_broken_pipe

__all__ = ["FAILED", "INTERRUPTED", "MISTYPED", "beside_the_work", "exit_code", "prints_aside", "show_warning"]

FAILED, MISTYPED, INTERRUPTED = 1, 2, 130


def exit_code(command: Callable[[], int]) -> int:
    """Return the exit code of `command`, after errors that it raises have been printed as one sentence.

    Meanwhile accel's warnings are one line each, and output that cannot be written ends nothing. Exceptions that are a defect of
    the program, or of the user's code, are not caught.
    """
    open_missing()
    out = sys.stdout if isinstance(sys.stdout, FailSafeStream) else FailSafeStream(sys.stdout, required=True)
    err = survive_broken_pipe(sys.stderr)
    with warnings.catch_warnings(), redirect_stdout(cast(TextIO, out)), redirect_stderr(err):
        warnings.showwarning = show_warning
        warnings.simplefilter("always", AccelWarning)
        code = _code_of(command)
        out.flush()
        if out.failure and out.required and code == 0:
            say(f"accel: error: the output cannot be written: {out.failure}", file=sys.stderr)
            code = FAILED
        err.flush()
    return code


def beside_the_work() -> None:
    """Let what the command under way prints be beside its work: where it cannot be written, a warning says so."""
    if isinstance(sys.stdout, FailSafeStream):
        sys.stdout.required = False


@contextmanager
def prints_aside(is_asked: bool = True) -> Iterator[TextIO]:
    """Send what is printed meanwhile, by a model say, to standard error. Give standard output, which a document has to itself.

    Args:
        is_asked: whether to do so; if not, nothing changes.
    """
    out = sys.stdout
    with redirect_stdout(sys.stderr if is_asked else out):
        yield out


def _code_of(command: Callable[[], int]) -> int:
    """Return the exit code of `command`, after errors that it raises have been printed."""
    try:
        return command()
    except ConfigError as error:
        if torchrun.rank() == 0:
            say(f"accel: error: {error}", file=sys.stderr, flush=True)
        torchrun.announce_failure(error)
        if torchrun.rank() > 0 and not torchrun.defer_to_rank_zero():
            say(f"accel: error: {error}", file=sys.stderr)
        return MISTYPED
    except TrainingError as error:
        say(f"accel: error: {error}", file=sys.stderr)
        return FAILED
    except Interrupted as stop:  # of a command that trains nothing, or in a multirun before a job could report it
        if torchrun.rank() == 0:
            say(f"accel: stopped by {stop.signal}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        return INTERRUPTED


def show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """Print one of accel's warnings as one line, and any other as Python does, on rank 0 alone.

    The arguments are those of `warnings.showwarning`.
    """
    if issubclass(category, AccelWarning) and (torchrun.rank() == 0 or not issubclass(category, MovedWarning)):
        say(f"accel: warning: {message}", file=sys.stderr)
    elif torchrun.rank() == 0:
        say(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)
