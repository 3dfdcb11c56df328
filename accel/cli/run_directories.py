"""Where a run goes, and which one to go on with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from accel.errors import ConfigError
from accel.schema.settings import Settings

__all__ = ["OUTPUTS", "fresh", "newest", "of_job"]

OUTPUTS = "outputs"


def fresh(now: datetime) -> Path:
    """`outputs/2026-01-31/12-59-59`, with -2, -3 ... behind it where that is taken."""
    first = Path(OUTPUTS, f"{now:%Y-%m-%d}", f"{now:%H-%M-%S}")
    out, number = first, 1
    while out.exists():
        number += 1
        out = first.with_name(f"{first.name}-{number}")
    return out


def of_job(settings: Settings, base: Path, number: int | None) -> Path | None:
    """The run directory of a job, which has a number where there are many.

    None where nothing is written, or all of it to the directory of the run that is resumed.
    """
    if settings.dry_run or (settings.resume and not settings.out):
        return None
    out = Path(settings.out or base)
    return out if number is None else out / str(number)


def newest() -> Path:
    """The run in `outputs/` with the newest checkpoint. Raises ConfigError where none has one."""
    found = [(path.stat().st_mtime, path.parent.parent) for path in Path(OUTPUTS).glob("**/checkpoints/*.json")]
    if not found:
        raise ConfigError(f"resume=auto: no run in {OUTPUTS}/ has a checkpoint; name the run with resume=DIR")
    return max(found)[1]
