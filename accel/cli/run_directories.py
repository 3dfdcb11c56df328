"""Run directories: new ones, those of the jobs of a multirun, and the newest."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from accel.errors import ConfigError
from accel.schema.settings import Settings

__all__ = ["OUTPUTS", "dated_directory", "job_directory", "newest_run"]

OUTPUTS = "outputs"


def dated_directory(now: datetime) -> Path:
    """Return `outputs/2026-01-31/12-59-59`, with -2, -3 ... behind it if that exists."""
    first = Path(OUTPUTS, f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}")
    out, number = first, 1
    while out.exists():
        number += 1
        out = first.with_name(f"{first.name}-{number}")
    return out


def job_directory(settings: Settings, base: Path, folder: str | None) -> Path | None:
    """Return the run directory of a job; None if it writes nothing, or to the directory of the run that it resumes.

    Args:
        settings: of the job.
        base: directory of a job whose settings name none.
        folder: of the job in that of a multirun; None if there is one job.
    """
    if (settings.dry_run and settings.resume != "auto") or (settings.resume and not settings.out):
        return None  # a dry run writes nothing, but looks in its directory for what it would go on with
    out = Path(settings.out or base)
    return out if folder is None else out / folder


def newest_run() -> Path:
    """Return the run in `outputs/` with the newest checkpoint. Raise ConfigError if none has a checkpoint.

    A run of which others were trained before (`accel.engine.chained_runs.generations`) is that of their checkpoints too.
    """
    runs = [(path.stat().st_mtime, _whole_run(path.parent.parent)) for path in Path(OUTPUTS).glob("**/checkpoints/*.json")]
    if not runs:
        raise ConfigError(f"resume=auto: no run in {OUTPUTS}/ has a checkpoint; name the run with resume=DIR")
    return max(runs)[1]


def _whole_run(run: Path) -> Path:
    """Return the run that a run directory is a generation of; itself for any other."""
    return run.parent.parent if run.parent.name == "generations" else run
