"""The table that compares several jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import Any, Self

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from accel.report.formatting import elapsed, metric, number, short_count
from accel.report.other_load import BUSY
from accel.report.pace import Pace
from accel.system.clock import TRAINING

__all__ = [
    "MARGIN",
    "REPEATED",
    "Compared",
    "ComparedGroup",
    "JobGroup",
    "JobResult",
    "compare",
    "comparison",
    "grouped",
    "notes",
    "speed_up",
    "with_range",
]

REPEATED = 4
"""Jobs that differ in their seed alone, from which on their medians make the range. Fewer are equal by chance too often."""
MARGIN = 0.05
"""Share by which fewer jobs' ranges are widened: processes differ by more than the parts of one do (memory, clock of the CPU)."""


@dataclass
class JobResult:
    """One job of several: its overrides, and its metrics, time and pace."""

    overrides: str
    """What it does not share with all others, without its seed."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """By the name to show, such as `test accuracy`; None for a number that is not finite."""
    seconds: float | None = None
    """Wall time of its updates; compiling, evaluation, checkpoints and reports are left out. None if the job failed."""
    error: str = ""
    """Why it failed, in one sentence."""
    pace: Pace | None = None
    """Its samples per second; None if the job failed, or was too short to tell."""

    @classmethod
    def of(cls, overrides: str, summary: Mapping[str, Any], error: str = "") -> Self:
        """Return a job by the content of its summary.json, which is empty if there is none."""
        if not summary:
            return cls(overrides, error=error)
        metrics = {metric(summary["split"], name): value for name, value in summary["metrics"].items()}
        seconds = summary["seconds"] * sum(summary["shares"].get(phase, 0.0) for phase in TRAINING) / 100
        pace = Pace(**summary["pace"]) if summary.get("pace") else None
        return cls(overrides, metrics, seconds, error, pace)


@dataclass
class JobGroup:
    """Jobs that differ in their seed alone, with their numbers."""

    label: str
    numbers: list[int] = field(default_factory=list)
    jobs: list[JobResult] = field(default_factory=list)

    @property
    def paces(self) -> list[Pace]:
        """The paces of the jobs that have one."""
        return [job.pace for job in self.jobs if job.pace is not None]

    @property
    def pace(self) -> Pace | None:
        """The pace of the group: the median of its jobs, and the range in which another job like these is expected."""
        paces = self.paces
        if not paces:
            return None
        rates = [pace.rate for pace in paces]
        low, high = min(rates), max(rates)
        if len(paces) < REPEATED:
            low, high = min(pace.low for pace in paces) * (1 - MARGIN), max(pace.high for pace in paces) * (1 + MARGIN)
        return Pace(median(rates), low, high, max((pace.busy or 0.0 for pace in paces), default=0.0))


@dataclass(frozen=True)
class ComparedGroup:
    """One row of a comparison, as texts; some have a second line with the range."""

    group: JobGroup
    metrics: list[str]
    """In the order of the names of the comparison."""
    training: str
    rate: str
    speed: str


@dataclass(frozen=True)
class Compared:
    """Jobs beside each other: the names of their metrics, a row for each group, and lines to stand below."""

    metrics: list[str]
    rows: list[ComparedGroup]
    notes: list[str]


def compare(jobs: Sequence[JobResult]) -> Compared:
    """Return jobs, or jobs that differ in their seed alone, beside each other.

    A row has metrics, seconds and samples per second, each the median and the range, and the speed-up over the first row that
    has a pace. It is `~` where the two ranges overlap.
    """
    names = list(dict.fromkeys(name for job in jobs for name in job.metrics))
    groups = grouped(jobs)
    base = next((group for group in groups if group.pace is not None), None)
    first = None if base is None else base.pace
    rows = []
    for group in groups:
        done = [job for job in group.jobs if job.seconds is not None]
        if not done:
            rows.append(ComparedGroup(group, ["-"] * len(names), "failed", "-", "-"))
            continue
        cells = [with_range([job.metrics.get(name) for job in done], number) for name in names]
        pace = group.pace
        speed = "-" if pace is None or first is None else "1.00x" if group is base else speed_up(pace, first)
        rates = "-" if pace is None else f"{short_count(pace.rate)}\n{short_count(pace.low)} to {short_count(pace.high)}"
        rows.append(ComparedGroup(group, cells, with_range([job.seconds for job in done], elapsed), rates, speed))
    return Compared(names, rows, notes(groups, [row.speed for row in rows]))


def comparison(jobs: Sequence[JobResult]) -> RenderableType:
    """Return a table with a row for each job, or for jobs that differ in their seed alone, and what there is to say of it."""
    compared = compare(jobs)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("job", justify="right", overflow="fold")
    table.add_column("overrides", ratio=1, overflow="fold")
    for name in [*compared.metrics, "training", "samples/s", "speed"]:
        table.add_column(name, justify="right", overflow="fold")
    for row in compared.rows:
        group = row.group
        label = Text(group.label or "(none)")
        label.append(f"\n{len(group.jobs)} seeds" if len(group.jobs) > 1 else "", style="dim")
        for job in group.jobs:
            label.append(f"\nfailed: {job.error}".rstrip(": ") if job.seconds is None else "", style="red")
        table.add_row(",".join(map(str, group.numbers)), label, *row.metrics, row.training, row.rate, row.speed)
    return Group(table, *(Text(line, style="dim") for line in compared.notes))


def grouped(jobs: Sequence[JobResult]) -> list[JobGroup]:
    """Return the jobs by their overrides, in the order of the first of each."""
    groups: dict[str, JobGroup] = {}
    for index, job in enumerate(jobs):
        group = groups.setdefault(job.overrides, JobGroup(job.overrides))
        group.numbers.append(index)
        group.jobs.append(job)
    return list(groups.values())


def with_range(values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """Return the median of the values and, below it, their range if there are several; `-` if none is known."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    middle = shown(median(known))
    return middle if len(known) == 1 else f"{middle}\n{shown(min(known))} to {shown(max(known))}"


def speed_up(pace: Pace, first: Pace) -> str:
    """Return how many times faster one pace is than the first, with its range; `~` if the two may be the same."""
    low, high = pace.low / _widest(first), _widest(pace) / first.low if first.low else inf
    if low <= 1.0 <= high:
        return "~"
    return f"{pace.rate / first.rate:.2f}x\n{low:.2f} to {high:.2f}"


def _widest(pace: Pace) -> float:
    """Return the samples per second that a pace might have had with the cores that others took."""
    return pace.high / (1 - min(pace.busy or 0.0, 90.0) / 100)


def notes(groups: Sequence[JobGroup], speeds: Sequence[str]) -> list[str]:
    """Return the lines below the table: what the numbers are, what could not be told, and when the machine was busy."""
    lines = ["samples/s and speed leave out warm-up, compiling, evaluation, checkpoints and reports; below them their range"]
    if "~" in speeds:
        lines.append("~: the ranges overlap, so the difference may be noise; repeat it, as by seed=0,1,2,3")
    if any(job.seconds is not None and job.pace is None for group in groups for job in group.jobs):
        lines.append("-: too few updates to tell")
    busy = [
        f"{job.pace.busy:.0f} % in job {index}"
        for group in groups
        for index, job in zip(group.numbers, group.jobs, strict=True)
        if job.pace is not None and (job.pace.busy or 0.0) >= BUSY
    ]
    if busy:
        lines.append(f"the machine was busy: other processes took {', '.join(busy)} of its cores, which widens the ranges")
    return lines
