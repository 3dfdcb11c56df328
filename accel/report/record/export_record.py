"""The outcomes of exports that a run directory keeps, `export.json`: the newest of each target and variant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accel.errors import ConfigError
from accel.system import atomic_files, disk_errors

__all__ = ["FILE", "SCHEMA", "read_outcomes", "write_outcomes"]

FILE = "export.json"
SCHEMA = 1


def read_outcomes(run: Path) -> list[dict[str, Any]]:
    """Return the outcomes that a run directory keeps, each of another target or variant; none of a damaged or foreign file."""
    try:
        content = json.loads((run / FILE).read_bytes())
        outcomes = content["outcomes"] if content["schema"] == SCHEMA else []
        return [one for one in outcomes if isinstance(one["target"], str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def write_outcomes(run: Path, outcomes: Sequence[dict[str, Any]]) -> None:
    """Put outcomes beside those that a run directory keeps, in place of older ones of the same targets.

    Raises:
        ConfigError: if the disk does not take them.
    """
    by_target = {(one["target"], one.get("variant")): one for one in [*read_outcomes(run), *outcomes]}
    try:
        content = json.dumps({"schema": SCHEMA, "outcomes": list(by_target.values())}, indent=1, allow_nan=False)
        atomic_files.write(run / FILE, content.encode())
    except OSError as error:
        raise ConfigError(f"{run / FILE} cannot be written ({disk_errors.disk_reason(error)}); make room") from None
