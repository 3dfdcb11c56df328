"""Reports as files: of one run, or of several that are compared."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from accel.errors import ConfigError
from accel.report.curves import Curves
from accel.report.html.comparison_page import comparison_page
from accel.report.html.run_page import run_page
from accel.report.record.run_files import expanded, read_run
from accel.system import atomic_files
from accel.system.call_stack import warn_user
from accel.system.disk_errors import disk_reason

__all__ = ["COMPARISON", "REPORT", "write_own_report", "write_report"]

REPORT, COMPARISON = "report.html", "comparison.html"


def write_report(*runs: str | PathLike[str], out: str | PathLike[str] | None = None) -> Path:
    """Write the report of a run, or the comparison of several, and return its file.

    Args:
        *runs: run directories; the directory of a multirun stands for its jobs.
        out: the file; default: `report.html` in the run directory, or `comparison.html` here for several.

    Raises:
        ConfigError: if one of them is no run directory, or the file cannot be written.
    """
    if not runs:
        raise ConfigError("a report takes a run directory, or several; name one")
    paths = expanded([Path(run).expanduser() for run in runs])
    file = Path(out).expanduser() if out is not None else paths[0] / REPORT if len(paths) == 1 else Path(COMPARISON)
    read = [read_run(path) for path in paths]
    text = run_page(read[0]) if len(read) == 1 else comparison_page(read)
    try:
        atomic_files.write(file, text.encode())
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({disk_reason(error)}); name another file with out=FILE") from None
    return file


def write_own_report(out: Path, summary: dict[str, Any], curves: Curves | None) -> None:
    """Write the report of a run that ends. Whatever fails is a warning: the run is done, and its report can be made again.

    Args:
        out: the run directory.
        summary: the content of its summary.json, which is written after it.
        curves: numbers of its metrics.jsonl, if they have been read already.
    """
    try:
        run = read_run(out, summary, curves)
        run.files = sorted({*run.files, REPORT, "summary.json"})
        atomic_files.write(out / REPORT, run_page(run).encode())
    except Exception as error:
        reason = disk_reason(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        warn_user(f"{REPORT} could not be written: {reason}; the run is done, and `python -m accel report {out}` writes it")
