"""The table that compares several jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from accel.report.formatting import elapsed, number

__all__ = ["JobResult", "comparison"]


@dataclass
class JobResult:
    """One job of several: its overrides, and its metrics and time."""

    overrides: str
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """By the name to show, such as `test accuracy`; None for a number that is not finite."""
    seconds: float | None = None
    """Wall time of its updates; evaluation, checkpoints and reports are left out. None if the job failed."""
    error: str = ""
    """Why it failed, in one sentence."""


def comparison(jobs: Sequence[JobResult]) -> RenderableType:
    """Return a table with a row for each job: its overrides, metrics, seconds, and speed-up over the first job that succeeded."""
    names = list(dict.fromkeys(name for job in jobs for name in job.metrics))
    first_seconds = next((job.seconds for job in jobs if job.seconds), None)
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
        metrics = [job.metrics.get(name) for name in names]
        values = ["-" if value is None else number(value) for value in metrics]
        speed_up = f"{first_seconds / job.seconds:.2f}x" if first_seconds and job.seconds else "-"
        table.add_row(str(index), label, *values, elapsed(job.seconds), speed_up)
    return table
