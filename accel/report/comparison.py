"""The jobs of one command side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from accel.report.formatting import elapsed, number


@dataclass
class JobResult:
    """One job of several: how it differs from the others, and what it came to."""

    overrides: str
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """By the name to show, such as `test accuracy`; None where it was no finite number."""
    seconds: float | None = None
    """Wall time of its updates; evaluation, checkpoints and reports are left out. None where it did not end."""
    error: str = ""
    """Why it did not end, in one sentence."""


def comparison(jobs: Sequence[JobResult]) -> RenderableType:
    """A row for each job: its overrides, metrics, seconds, and how many times faster it was than the first that ended."""
    names = list(dict.fromkeys(name for job in jobs for name in job.metrics))
    base = next((job.seconds for job in jobs if job.seconds), None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("job", justify="right", overflow="fold")
    table.add_column("overrides", ratio=1, overflow="fold")
    for name in [*names, "training", "speed"]:
        table.add_column(name, justify="right", overflow="fold")
    for index, job in enumerate(jobs):
        label = Text(job.overrides or "(none)")
        if job.seconds is None:
            label.append(f"\nfailed: {job.error}".rstrip(": "), style="red")
            table.add_row(str(index), label, *["-"] * len(names), "failed", "-")
            continue
        found = [job.metrics.get(name) for name in names]
        values = ["-" if value is None else number(value) for value in found]
        faster = f"{base / job.seconds:.2f}x" if base and job.seconds else "-"
        table.add_row(str(index), label, *values, elapsed(job.seconds), faster)
    return table
