"""What was asked for in a run that is there, read from its directory: the task, its data and how it is evaluated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accel.checkpoints.weights.find_weights import PLAN
from accel.engine.loading.task_record import GIVEN, TaskRecord
from accel.engine.request import RunRequest
from accel.errors import ConfigError
from accel.parts import Part, Source
from accel.schema import plugin_registry
from accel.schema.settings import typed_name
from accel.system.disk_errors import readable

__all__ = ["KEPT", "recorded_request"]

KEPT = ("batch_size", "seed", "evaluate_batches", "bad_data", "bad_limit")
"""Settings of a run on which its evaluation depends."""


def recorded_request(run: Path, fix: str, kind: type[Any] | None = None) -> RunRequest:
    """Return the request of a run, for an evaluation: its task made again, the settings and the source of data that it had.

    Args:
        run: the run directory, whether its run was begun by the command line or in Python.
        fix: what to do where the task cannot be made again, the end of a sentence.
        kind: the class of the task; None for the one that the directory names.

    Raises:
        ConfigError: if the directory does not say how the task is made, or it cannot be made so.
    """
    record = TaskRecord.read(run)
    if record is None:
        raise ConfigError(f"{run} has no task.json, which says what its task is, so it is no run directory, or of an earlier accel")
    if kind is None and record.task == GIVEN:
        raise ConfigError(f"the run in {run} was given its model in Python; {fix}")
    task: Any = record.make(kind, fix, has_data=True)
    request: RunRequest = task._request()
    plan = _plan(run)
    settings = {name: plan["settings"][typed_name(name)] for name in KEPT if typed_name(name) in plan["settings"]}
    return replace(
        request, settings=replace(request.settings, **settings, out=None, device="cpu"), plugins=_sources(plan["rows"]), watches=(),
    )  # fmt: skip


def _plan(run: Path) -> dict[str, Any]:
    """Return the plan of a run. Raise ConfigError if it is missing or damaged."""
    file = run / PLAN
    try:
        with readable(file):
            plan = json.loads(file.read_bytes()) if file.is_file() else {"settings": {}, "rows": []}
        if isinstance(plan["settings"], dict) and all(isinstance(row, dict) for row in plan["rows"]):
            return {"settings": plan["settings"], "rows": plan["rows"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ConfigError(f"{file} is damaged, which has the settings of the run")


def _sources(rows: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return the plugin that read the run's data from elsewhere than the task says, if there was one."""
    rows = [row for row in rows if row.get("part") == Source.__name__ and row.get("status") == "on"]
    try:
        return [plugin_registry.load(row["plugin"])(**row["settings"]) for row in rows]
    except (KeyError, TypeError):
        raise ConfigError(f"the plan of the run is damaged: {rows[0].get('plugin')} cannot be made of its settings") from None
