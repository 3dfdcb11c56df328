"""The one line that tells how far a run is."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from accel.report.formatting import duration, number, short_count

__all__ = ["BAR", "GAP", "ProgressLine"]

GAP = "  "
BAR = 8
"""The least width of a bar: without room for it, none is drawn."""


@dataclass
class ProgressLine:
    """The progress of a run. On a console it takes one line: cells grow shorter if it is narrow, and a bar fills the rest."""

    epoch: int
    epochs: int | None
    """Epochs of the run; None if only something else ends it."""
    update: int
    updates: int | None
    loss: float | None
    lr: float
    rate: float | None
    """Samples per second of training."""
    wait: float | None
    """Percent of the training time that was spent waiting for data."""
    skipped: int | None
    """Skipped updates; None if no update can be skipped."""
    left: float | None
    """Seconds until the end."""
    logged: dict[str, float] = field(default_factory=dict)
    """Numbers that the loss logs, by name."""

    def cells(self) -> list[tuple[str, str]]:
        """Return each cell in full and in short."""
        total = "" if self.updates is None else f"/{self.updates:,}"
        epochs = "" if self.epochs is None else f"/{self.epochs}"
        cells = [
            (f"epoch {self.epoch}{epochs}", f"ep {self.epoch}{epochs}"),
            (f"update {self.update:,}{total}", f"{self.update}{total.replace(',', '')}"),
            ("", "") if self.loss is None else (f"loss {number(self.loss)}",) * 2,
            *((f"{name} {number(value)}",) * 2 for name, value in self.logged.items()),
            (f"lr {self.lr:.2e}",) * 2,
            ("", "") if self.rate is None else (f"{self.rate:,.0f} samples/s", f"{short_count(self.rate)}/s"),
            ("", "") if self.wait is None else (f"data wait {self.wait:.0f}%", f"data {self.wait:.0f}%"),
            ("", "") if self.skipped is None else (f"{self.skipped:,} skipped", f"{short_count(self.skipped)} skip"),
            ("", "") if self.left is None else (f"{duration(self.left)} left",) * 2,
        ]
        return [cell for cell in cells if cell[0]]

    def text(self, width: int | None = None) -> str:
        """Return the cells in a row, shortened one by one, from the right, until they fit into `width` characters."""
        cells = self.cells()
        texts = [full for full, _ in cells]
        for index in reversed(range(len(cells))):
            if width is None or len(GAP.join(texts)) <= width:
                break
            texts[index] = cells[index][1]
        line = GAP.join(texts)
        return line if width is None or len(line) <= width else " ".join(texts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # the last column stays free: a line that fills it makes some terminals scroll
        width = options.max_width - 1
        text = self.text(width)
        room = width - len(text) - len(GAP)
        if self.updates is None or room < BAR:
            yield Text(text[:width], no_wrap=True, overflow="crop")
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_row(ProgressBar(total=self.updates, completed=self.update, width=min(room, 40)), Text(text, no_wrap=True))
        yield grid
