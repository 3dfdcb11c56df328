"""Another split of a task's data to evaluate on, by its name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accel.engine.request import RunRequest
from accel.errors import ConfigError, nearest

__all__ = ["evaluated_on"]


def evaluated_on(request: RunRequest, evaluates: str | None) -> RunRequest:
    """Return a request that evaluates on other splits of the data of its task.

    Args:
        request: the request.
        evaluates: their names, `val` or `[val,test]`; None for those of the task.

    Raises:
        ConfigError: if a name is none.
    """
    if evaluates is None:
        return request
    splits = tuple(name.strip() for name in evaluates.strip("[]").split(","))
    if not all(splits):
        raise ConfigError(f"evaluates={evaluates}: name a split of the task's data, or several: [val,test]")
    known = (request.evaluation_split,) if isinstance(request.evaluation_split, str) else request.evaluation_split

    def data(split: str) -> Any:
        """Return the data of a split. Raise ConfigError if the task has none of that name."""
        try:
            content = request.data(split)
        except KeyError as error:
            raise ConfigError(f"evaluates={split}: the task has no data of that name ({error}){nearest(split, known)}") from None
        if content is None:
            raise ConfigError(f"evaluates={split}: the task has no data of that name{nearest(split, known)}")
        return content

    return replace(request, data=data, evaluation_split=splits[0] if len(splits) == 1 else splits)
