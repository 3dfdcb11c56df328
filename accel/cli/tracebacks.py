"""Tracebacks of user code: only the user's frames, and the plugin that the error came from."""

from __future__ import annotations

import os
import sys
import traceback

from accel.cli.exit_codes import FAILED
from accel.report.terminal import say
from accel.system.call_stack import is_user_code

__all__ = ["plugin_at_fault", "print_failure", "user_traceback"]


def print_failure(error: BaseException) -> int:
    """Print an error of the user's code, with the plugin that it came from, on standard error; return the exit code."""
    say(f"{plugin_at_fault(error)}{user_traceback(error)}", file=sys.stderr)
    return FAILED


def user_traceback(error: BaseException) -> str:
    """Return the traceback of `error` and of its causes with the user's frames alone; the whole if it has none of the user's.

    HYDRA_FULL_ERROR=1 in the environment keeps all frames.
    """
    trace = traceback.TracebackException.from_exception(error)
    if os.environ.get("HYDRA_FULL_ERROR") != "1" and _keep_user_frames(trace):
        note = "(frames of accel and other packages are left out; HYDRA_FULL_ERROR=1 shows them)\n"
        return (note + "".join(trace.format())).rstrip()
    return "".join(trace.format()).rstrip()


def plugin_at_fault(error: BaseException) -> str:
    """Return a line with the plugin that raised `error` and its method; empty if none did, or the user's code inside one."""
    from accel.engine.select_parts import PART_TYPES
    from accel.parts import Part

    line, plugin_file, trace = "", "", error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        owner, file = frame.f_locals.get("self"), frame.f_code.co_filename
        if isinstance(owner, Part) and type(owner) not in PART_TYPES.values():
            line, plugin_file = f"accel: error: the plugin {owner.name} failed in {frame.f_code.co_name}:\n", file
        elif is_user_code(file) and file != plugin_file:
            line = ""
    return line


def _keep_user_frames(trace: traceback.TracebackException) -> bool:
    """Take all but the user's frames out of a traceback and its causes; return whether any was taken out."""
    user_frames = [frame for frame in trace.stack if is_user_code(frame.filename)]
    cut = 0 < len(user_frames) < len(trace.stack)
    if cut:
        trace.stack = traceback.StackSummary.from_list(user_frames)
    causes_cut = [_keep_user_frames(cause) for cause in (trace.__cause__, trace.__context__) if cause is not None]
    return cut or any(causes_cut)
