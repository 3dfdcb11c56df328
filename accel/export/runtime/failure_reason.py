"""An error of an engine in one sentence. It is used where there may be no torch."""

from __future__ import annotations

import re
from typing import Any

from accel.system.disk_errors import is_disk_full

__all__ = ["failure_answer", "reason_of"]

USER_LINE = re.compile(r'File "([^"]+)", line (\d+), in (\w+)\s*\n\s*([^\n]+)')
"""A frame in the text of a traceback."""
MORE = ' For more information, run with TORCH_LOGS="+dynamic".'
"""What torch has to say to its own developers."""
OTHERS = ("site-packages", "/lib/python", "/accel/export/")
"""Parts of the paths of code that is not the user's."""


def failure_answer(error: BaseException) -> tuple[Any, ...]:
    """Return what a process answers to an error of an engine, whatever it is, as `EngineProcess.answer` takes it."""
    if isinstance(error, ModuleNotFoundError):
        return ("missing", error.name or str(error))
    if isinstance(error, OSError) and is_disk_full(error):
        return ("disk", error.errno, error.strerror)
    return ("failed", " ".join(f"{type(error).__name__}: {reason_of(error)}".split())[:500])


def reason_of(error: BaseException) -> str:
    """Return an error of an engine in a sentence: its first line that says something, and the line of the model's code."""
    texts = [str(one) for one in _chain(error)]
    text = texts[-1] if texts[-1].strip() else texts[0]
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 3]
    first = " ".join(lines[:1] + [line for line in lines[1:] if line.startswith("- ")][:1]) or type(error).__name__
    first = first.replace(MORE, "")
    if first.startswith("Constraints violated"):
        first = f"it computes otherwise for some numbers of samples or lengths (dynamic=none makes a file of one sample): {first}"
    if "data-dependent" in first:
        first = f"what it computes next depends on the numbers in a tensor, which no graph knows: {first}"
    places = [match for one in texts for match in USER_LINE.findall(one)] or _frames(error)
    if not places:
        return first[:300]
    file, line, function, code = places[-1]
    return f"{first[:300]} ({function} in {file}, line {line}: {code.strip()})"


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and those that it came from, the first cause last."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def _frames(error: BaseException) -> list[tuple[Any, ...]]:
    """Return the innermost frame of code that is neither torch's nor of another package, as `USER_LINE` finds it."""
    import traceback

    frames = [frame for one in _chain(error) for frame in traceback.extract_tb(one.__traceback__)]
    own = [frame for frame in frames if not any(place in frame.filename for place in OTHERS)]
    return [(frame.filename, frame.lineno, frame.name, frame.line or "") for frame in own if "<" not in frame.filename]
