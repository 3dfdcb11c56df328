"""What a command asks of a run that is there: its task and settings, without anything that would write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accel.cli.compose.config import Config
    from accel.engine.request import RunRequest

__all__ = ["saved_request"]


def saved_request(config: Config, folder: Path, evaluates: str | None) -> RunRequest:
    """Return the request of a run as its configuration has it.

    Args:
        config: the configuration of the run, with what was typed.
        folder: the run directory.
        evaluates: names of the splits to evaluate, `val` or `[val,test]`; None for those of the task.

    Raises:
        ConfigError: if the task refuses its settings, or a name is none.
    """
    from accel.engine.loading.evaluated_splits import evaluated_on

    trainer = config.trainer(out=None, resume=None, dry_run=False, watch=())
    trainer.record_folder = folder
    return evaluated_on(trainer._request(), evaluates)
