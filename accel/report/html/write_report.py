"""Reports as files: of one run, or of several that are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError, Interrupted, Sentence, describe
from accel.report.curves import Curves
from accel.report.html.comparison_page import comparison_page
from accel.report.html.run_page import run_page
from accel.report.record.run_files import expanded, read_run
from accel.system import atomic_files
from accel.system.call_stack import warn_user
from accel.system.disk_errors import disk_reason, readable
from accel.system.shell_quoting import override

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["COMPARISON", "MOST_LETTERS", "REPORT", "write_own_report", "write_report", "write_unfinished_report"]

MOST_LETTERS = 300
"""Letters of an error that the page of a run which it ended has."""
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
    if wrong := [run for run in runs if not isinstance(run, str | PathLike)]:
        raise ConfigError(f"a report takes run directories, not {describe(wrong[0])}; name the folder, such as result.out")
    paths = expanded([Path(run).expanduser() for run in runs])
    file = _page(out, paths) if out is not None else paths[0] / REPORT if len(paths) == 1 else Path(COMPARISON)
    read = [read_run(path) for path in paths]
    text = run_page(read[0]) if len(read) == 1 else comparison_page(read)
    try:
        atomic_files.write(file, text.encode())
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({disk_reason(error)}); name another file with out=FILE") from None
    return file


def _page(out: str | PathLike[str], runs: Sequence[Path]) -> Path:
    """Return the file of a page. Raise ConfigError for a folder, and for a file of a run that would be lost."""
    file = Path(out).expanduser()
    with readable(file):
        if not file.name or file.is_dir():
            raise ConfigError(f"out={out} names no file; name one, such as {override('out', file / REPORT)}")
        kept = file.exists() and any(file.resolve().is_relative_to(run.resolve()) for run in runs)
    if kept and file.suffix != ".html":
        raise ConfigError(f"out={out} is a file of the run, which would be lost; name another")
    return file


def write_own_report(out: Path, summary: dict[str, Any], curves: Curves | None, is_done: bool = True) -> None:
    """Write the report of a run that ends. Whatever fails is a warning: the run has ended, and its report can be made again.

    Args:
        out: the run directory.
        summary: the content of its summary.json, which is written after it if the run is done, and else what is known of it.
        curves: numbers of its metrics.jsonl, if they have been read already.
        is_done: whether the run is; one that a signal or an error has ended is not.
    """
    with _failures_as_warnings(out, is_done):
        run = read_run(out, summary, curves)
        run.files = sorted({*run.files, REPORT, *(["summary.json"] if is_done else [])})
        atomic_files.write(out / REPORT, run_page(run).encode())


@contextmanager
def _failures_as_warnings(out: Path, is_done: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = disk_reason(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        state = "done" if is_done else "kept"
        warn_user(f"{REPORT} could not be written: {reason}; the run is {state}, and `python -m accel report {out}` writes it")


def write_unfinished_report(out: Path, run: Run, error: BaseException) -> None:
    """Write the report of a run that a signal or an error ends: what is known of it, why it ended, and how it goes on.

    Args:
        out: the run directory.
        run: the run, whose files are written as far as it has come.
        error: what ends it.
    """
    from accel.report.result import Result  # it imports torch, which the command does without

    with _failures_as_warnings(out, is_done=False):
        last = run.history[-1] if run.history else {}
        result = Result(
            run.unwrapped_model,
            {name: value for name, value in last.items() if name not in ("epoch", "update")},
            run.evaluation_split,
            run.history,
            epochs=run.progress.epoch,
            updates=run.progress.step,
            samples=run.progress.samples,
            out=out,
        )
        run.add_times(result)
        if result.flow is None:  # nothing was trained, so there is nothing to measure more of
            result.doctor = ""
        words = " ".join(str(error).split())[:MOST_LETTERS]
        result.stopped = words if isinstance(error, Interrupted | Sentence) else f"{type(error).__name__}: {words}"
        if run.command and any(out.glob("checkpoints/update-*.json")):
            result.resume = f"{run.command} {override('resume', out)}"
        summary = result.summary()
        del summary["loss"]  # the curves have it
        write_own_report(out, summary, None, is_done=False)
