"""What came of the export of a run, target by target, as values that draw themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError, nearest
from accel.export.export_outcome import ExportOutcome

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["SCHEMA", "Exports"]

SCHEMA = 1
"""Version of the document of `Exports.as_dict`."""
WIDTH = 120
"""Columns of the table as text."""


@dataclass(frozen=True)
class Exports:
    """Outcomes of an export, one for each target: `exports["onnx"].status`. A terminal and a notebook show them as a table.

    Args:
        run: the run directory.
        outcomes: what came of each target, in order.
    """

    run: Path
    outcomes: tuple[ExportOutcome, ...]

    @property
    def hold(self) -> bool:
        """Whether every export is proven. One that was not run is not."""
        return all(outcome.status == "holds" for outcome in self.outcomes)

    def __getitem__(self, target: str) -> ExportOutcome:
        """Return the outcome of a target. Raise ConfigError if it was not asked for."""
        by_name = {outcome.target: outcome for outcome in self.outcomes}
        if target not in by_name:
            hint = nearest(target, by_name) or f"; there is {', '.join(by_name)}"
            raise ConfigError(f"there is no export to {target}{hint}")
        return by_name[target]

    def __iter__(self) -> Iterator[ExportOutcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        """Return the outcomes as plain values, with the version of their schema: what `accel export --json` prints."""
        return {"schema": SCHEMA, "outcomes": [outcome.as_dict() for outcome in self.outcomes]}

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        from accel.export.run.export_table import export_table, speed_table
        from accel.report.record.export_cells import export_lines

        rows = self.as_dict()["outcomes"]
        folders = [str(one.folder) for one in self.outcomes if one.folder is not None and one.status == "holds"]
        tables = [table for table in (export_table(rows), speed_table(rows)) if table is not None]
        return Group(*tables, *(Text(line, overflow="fold") for line in [*export_lines(rows), *folders]))

    def __repr__(self) -> str:
        from accel.report.visible_console import text_block

        return text_block(lambda console: console.print(self), WIDTH)

    def _repr_html_(self) -> str:
        from accel.report.visible_console import html_block

        return html_block(lambda console: console.print(self), WIDTH)
