"""The section of a run's page on its exports: `export.json` in its directory, which `accel export` writes."""

from __future__ import annotations

from accel.report.html.intervals import interval_of, scaled
from accel.report.html.markup import Markup, element, join, paragraphs, table
from accel.report.record.export_cells import COLUMNS, cells, export_lines
from accel.report.record.run_files import RunFiles

__all__ = ["exports"]

STYLES = {"holds": "good", "refused": "bad", "failed": "bad"}


def exports(run: RunFiles) -> Markup:
    """Return what came of each export: a table, with the speed drawn beside torch's, and why one does not hold."""
    content = run.documents.get("export")
    if content is None:
        return Markup("")
    outcomes = content["outcomes"]
    latencies = [((one.get("proof") or {}).get("latency") or [None])[0] for one in outcomes]
    drawings = scaled(interval_of(latency, "ratio") for latency in latencies)
    rows = []
    for outcome, drawing in zip(outcomes, drawings, strict=True):
        target, status, *rest = cells(outcome)
        rows.append((target, element("b", status, class_=STYLES.get(status, "warn")), *rest, drawing))
    return join([
        table((*COLUMNS, ""), rows, range(2, len(COLUMNS)), class_="wide"),
        paragraphs(export_lines(outcomes), "dim"),
        element("p", "x eager: how many times faster than torch in eager mode, one sample at a time, by turns", class_="dim"),
    ])  # fmt: skip
