"""The table that a multirun ends with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from accel.cli.run import Outcome


def compare(outcomes: Sequence[Outcome]) -> None:
    """Prints one row for each job: what it was told, the metrics, the seconds, and how much faster than the first it was."""
    common = set.intersection(*(set(outcome.config.overrides) for outcome in outcomes)) if len(outcomes) > 1 else set()
    split = next((outcome.summary["split"] for outcome in outcomes if outcome.summary), "")
    metrics = list(dict.fromkeys(name for outcome in outcomes for name in outcome.summary.get("metrics", {})))
    first = outcomes[0].summary.get("seconds")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("job", overflow="fold")
    for name in (*(f"{split} {name}" for name in metrics), "seconds", "speed-up"):
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        told = " ".join(word for word in outcome.config.overrides if word not in common) or "as it is"
        if outcome.summary:
            seconds = outcome.summary["seconds"]
            faster = f"{first / seconds:.2f}x" if first and seconds else ""
            row = [_number(outcome.summary["metrics"].get(name)) for name in metrics]
            table.add_row(Text(told), *row, f"{seconds:.1f}", faster)
        else:
            table.add_row(Text(f"{told}\nfailed: {outcome.error}"), *[""] * (len(metrics) + 2))
    Console().print(table)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
