"""The results of a drill, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from accel.report.visible_console import VisibleConsole

if TYPE_CHECKING:
    from accel.testing.drill.drill import Report

__all__ = ["STRIKES", "median_and_p90", "row", "summary"]

STRIKES = {
    "kill": "kills", "update": "kills", "term": "signals", "corrupt": "damaged", "disk": "writes failed",
    "worker": "workers killed",
}  # fmt: skip


def summary(kind: str, reports: Sequence[Report]) -> str:
    """Return a table of one row. Times are from the start of a resumed process to the end of its first update."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    cells = row(kind, reports)
    for name in cells:
        table.add_column(name, justify="right")
    table.add_row(*cells.values())
    console = VisibleConsole(width=100, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def row(kind: str, reports: Sequence[Report]) -> dict[str, str]:
    """Return the cells of the row by column."""
    times = [seconds for report in reports for seconds in report.recoveries]
    median, p90 = median_and_p90(times)
    return {
        "trials": f"{len(reports):,}",
        STRIKES[kind]: f"{sum(report.strikes for report in reports):,}",
        "identical": f"{sum(not report.failure for report in reports):,}",
        "failed": f"{sum(bool(report.failure) for report in reports):,}",
        "begun anew": f"{sum(report.restarts for report in reports):,}",
        "recovery": "-" if not times else f"{median:.2f} s (p90 {p90:.2f}, n = {len(times)})",
    }


def median_and_p90(times: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 90th percentile; zero if there are no times."""
    if len(times) < 2:
        return (times[0], times[0]) if times else (0.0, 0.0)
    tenths = quantiles(times, n=10, method="inclusive")
    return tenths[4], tenths[8]
