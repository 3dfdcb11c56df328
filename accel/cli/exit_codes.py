"""Exit codes of every command: 0 done, 1 failed, 2 something typed cannot work, 75 stopped by a signal, 130 interrupted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from accel.cli import torchrun
from accel.errors import ConfigError, Interrupted, TrainingError
from accel.report.terminal import say

__all__ = ["FAILED", "INTERRUPTED", "MISTYPED", "exit_code"]

FAILED, MISTYPED, INTERRUPTED = 1, 2, 130


def exit_code(command: Callable[[], int]) -> int:
    """Return the exit code of `command`, after errors that it raises have been printed as one sentence.

    Exceptions that are a defect of the program, or of the user's code, are not caught.
    """
    code = 0
    try:
        code = command()
        sys.stdout.flush()
    except ConfigError as error:
        torchrun.defer_to_rank_zero()
        say(f"accel: error: {error}", file=sys.stderr)
        return MISTYPED
    except TrainingError as error:
        say(f"accel: error: {error}", file=sys.stderr)
        return FAILED
    except Interrupted as stop:  # in the warm-up of a multirun, before a job could report it
        say(f"accel: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: `accel train --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
