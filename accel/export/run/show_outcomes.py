"""The picture of a run's exports, and its page, drawn anew."""

from __future__ import annotations

from pathlib import Path

from accel.errors import ConfigError
from accel.report.html.write_report import REPORT, write_report
from accel.report.plots.export_plot import PICTURE, draw
from accel.report.record.export_record import read_outcomes
from accel.system import disk_errors

__all__ = ["show_outcomes"]


def show_outcomes(run: Path) -> None:
    """Draw the outcomes that a run directory keeps, there and in its report if it has one. Raise ConfigError for a full disk."""
    try:
        draw(read_outcomes(run), run / PICTURE)
    except OSError as error:
        raise ConfigError(f"{run / PICTURE} cannot be written ({disk_errors.disk_reason(error)}); make room") from None
    if (run / REPORT).is_file():
        write_report(run)
