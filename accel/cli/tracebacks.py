"""A traceback cut down to the user's own frames, and the plugin that it came from."""

from __future__ import annotations

import os
import traceback

from accel.system.call_stack import is_user_code

__all__ = ["blame", "trimmed"]


def trimmed(error: BaseException) -> str:
    """The traceback of `error` and of what caused it, with the user's frames alone; whole where there are none."""
    found = traceback.TracebackException.from_exception(error)
    if os.environ.get("HYDRA_FULL_ERROR") != "1" and _trim(found):
        note = "(frames of accel and other packages are left out; HYDRA_FULL_ERROR=1 shows them)\n"
        return (note + "".join(found.format())).rstrip()
    return "".join(found.format()).rstrip()


def blame(error: BaseException) -> str:
    """A line that names the plugin that raised `error`, and its method; empty where none did, or the user's code inside one."""
    from accel.engine.select_parts import PART_TYPES
    from accel.parts import Part

    named, home, trace = "", "", error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        owner, file = frame.f_locals.get("self"), frame.f_code.co_filename
        if isinstance(owner, Part) and type(owner) not in PART_TYPES.values():
            named, home = f"accel: error: the plugin {owner.name} failed in {frame.f_code.co_name}:\n", file
        elif is_user_code(file) and file != home:
            named = ""
    return named


def _trim(found: traceback.TracebackException) -> bool:
    ours = [frame for frame in found.stack if is_user_code(frame.filename)]
    cut = 0 < len(ours) < len(found.stack)
    if cut:
        found.stack = traceback.StackSummary.from_list(ours)
    further = [_trim(one) for one in (found.__cause__, found.__context__) if one is not None]
    return cut or any(further)
