"""Verdict on a run that is done, by the times of its own clock, and the command that would know more."""

from __future__ import annotations

import re

from accel.parts import Run
from accel.report.result import BOUND, LONG, Result
from accel.report.run_verdict import Verdict
from accel.system.clock import PHASES

__all__ = ["closing_verdict", "doctor_command"]

KEPT_RUN = re.compile(r""" (?:'\+*(?:out|resume|dry_run)=[^']*'|\+*(?:out|resume|dry_run)=\S*)""")
"""Words about the directory of a run, which a diagnosis refuses: it begins anew and writes no run."""
SPELLINGS = {"-m accel.train": "-m accel doctor", "accel-train": "accel doctor", "accel train": "accel doctor"}
"""Words that start training, and those that start the doctor."""


def closing_verdict(run: Run, result: Result) -> str:
    """Return what took most of a run's time, in a sentence; empty if it was too short to tell, or the clock alone cannot.

    On CUDA the clock is the host's, which runs ahead: there it tells of data, copies, evaluations and checkpoints alone.

    Args:
        run: the run.
        result: its result, times included.
    """
    if result.flow is None or result.dry or result.seconds < LONG:
        return ""
    shares = {name: result.shares.get(name, 0.0) for name in PHASES}
    passes = shares["forward"] + shares["backward"]
    parts = {name: shares[name] for name in ("data", "transfer", "update", "evaluation", "checkpoint")}
    part = max(parts, key=lambda name: parts[name])
    others = [passes, *(shares[name] for name in ("compile", "report", "other"))]
    if parts[part] >= max(others):
        on_host = run.device.type == "cuda" and part == "update"
        return "" if on_host or (part == "data" and result.flow.wait < BOUND) else Verdict(part, parts[part] / 100).sentence
    if passes >= max(others) and run.device.type != "cuda":
        return f"computing: forward and backward pass take {passes:.0f} % of the time"
    return ""


def doctor_command(command: str) -> str:
    """Return the command that diagnoses the run of a command; empty for none, and for one that does not begin with training.

    >>> doctor_command("python -m accel.train epochs=3"), doctor_command("accel train 'out=my run' epochs=3 resume=auto")
    ('python -m accel doctor epochs=3', 'accel doctor epochs=3')
    """
    pattern = "|".join(rf"(?<![\w-]){re.escape(words)}(?![\w.-])" for words in SPELLINGS)
    changed, count = re.subn(pattern, lambda match: SPELLINGS[match[0]], KEPT_RUN.sub("", command), count=1)
    return changed if count else ""
