"""The table that a multirun ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from accel.report.comparison import Job, comparison
from accel.report.formatting import metric
from accel.system.clock import TRAINING

if TYPE_CHECKING:
    from accel.cli.run import Outcome


def compare(outcomes: Sequence[Outcome]) -> None:
    """Prints one row for each job: what sets it apart from the others, and what it came to."""
    common = set.intersection(*(set(outcome.config.overrides) for outcome in outcomes)) if len(outcomes) > 1 else set()
    jobs = []
    for outcome in outcomes:
        told = " ".join(word for word in outcome.config.overrides if word not in common)
        summary = outcome.summary
        metrics = {metric(summary["split"], name): value for name, value in summary["metrics"].items()} if summary else {}
        seconds = summary["seconds"] * sum(summary["shares"][phase] for phase in TRAINING) / 100 if summary else None
        jobs.append(Job(told, metrics, seconds, outcome.error))
    Console(markup=False, highlight=False).print("\n", comparison(jobs), sep="")
