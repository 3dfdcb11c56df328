"""What a command asks of a run that is there: its task and settings, without anything that would write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.cli.compose.config import Config
    from accel.engine.request import RunRequest

__all__ = ["saved_request"]


def saved_request(config: Config, evaluates: str | None) -> RunRequest:
    """Return the request of a run as its configuration has it.

    Args:
        config: the configuration of the run, with what was typed.
        evaluates: names of the splits to evaluate, `val` or `[val,test]`; None for those of the task.

    Raises:
        ConfigError: if the task refuses its settings, or a name is none.
    """
    trainer = config.trainer(out=None, resume=None, dry_run=False, watch=())
    request = trainer._request()
    if evaluates is None:
        return request
    splits = tuple(name.strip() for name in evaluates.strip("[]").split(","))
    if not all(splits):
        raise ConfigError(f"evaluates={evaluates}: name a split of the task's data, or several: [val,test]")
    known = (trainer.evaluates,) if isinstance(trainer.evaluates, str) else trainer.evaluates

    def data(split: str) -> Any:
        """Return the data of a split. Raise ConfigError if the task has none of that name."""
        try:
            content = trainer.data(split)
        except KeyError as error:
            raise ConfigError(f"evaluates={split}: the task has no data of that name ({error}){nearest(split, known)}") from None
        if content is None:
            raise ConfigError(f"evaluates={split}: the task has no data of that name{nearest(split, known)}")
        return content

    return replace(request, data=data, evaluation_split=splits[0] if len(splits) == 1 else splits)
