"""The section of a run's page on its exports: `export.json` in its directory, which `accel export` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accel.report.curves import svg_text
from accel.report.html.charts import MISSING, PACKAGE, for_page, swatch
from accel.report.html.markup import Markup, element, join, paragraphs, table
from accel.report.plots.export_plot import ExportPanel, export_panels, panel_figure
from accel.report.record.export_cells import SPEED_COLUMNS, cells, columns, export_lines, speed_rows
from accel.report.record.run_files import RunFiles
from accel.system.machine import importable

__all__ = ["exports"]

STYLES = {"holds": "good", "refused": "bad", "failed": "bad"}
FIRST = 1000
"""Number of the first drawing of this section, which no chart of another has."""


def exports(run: RunFiles) -> Markup:
    """Return what came of each export: a table, the picture, why one does not hold, and all times."""
    content = run.documents.get("export")
    if content is None:
        return Markup("")
    outcomes = content["outcomes"]
    headings, times = columns(outcomes), speed_rows(outcomes)
    rows = []
    for outcome in outcomes:
        target, status, *rest = cells(outcome)
        rows.append((target, element("b", status, class_=STYLES.get(status, "warn")), *rest))
    every = table(SPEED_COLUMNS, times, range(1, len(SPEED_COLUMNS)))
    return join([
        table(headings, rows, range(2, len(headings))), _pictures(outcomes), paragraphs(export_lines(outcomes), "dim"),
        element("details", element("summary", "all times"), every) if times else None,
    ])  # fmt: skip


def _pictures(outcomes: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the panels of the picture, beside each other as the page is wide."""
    panels = export_panels(outcomes)
    if panels and not importable(PACKAGE):
        return element("p", MISSING, class_="warn")
    return element("div", *map(_figure, panels, range(FIRST, FIRST + len(panels))), class_="charts")


def _figure(panel: ExportPanel, number: int) -> Markup:
    keys = [element("span", swatch(place), key, class_="key") for place, key in enumerate(panel.keys)]
    caption = element("figcaption", element("b", panel.title), Markup("<br>") if keys else None, join(keys))
    return element("figure", caption, Markup(for_page(svg_text(panel_figure([panel], has_titles=False)), number)))
