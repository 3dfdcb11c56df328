"""Files that an engine makes of a model in a process of its own, in the interpreter that has the engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accel.errors import ConfigError
from accel.export.runtime.engine_process import EngineProcess, RuntimeFailed

__all__ = ["build_apart"]


def build_apart(
    target: str, settings: Mapping[str, Any], source: Path, folder: Path, python: str | None, time_limit: float
) -> None:  # fmt: skip
    """Let an engine make its files, by `ConvertedTarget.convert`.

    Args:
        target: name of the target.
        settings: of the target, as JSON holds them.
        source: folder of what this process has written.
        folder: an empty folder for the files.
        python: the interpreter, of an environment that has the engine; None for this one.
        time_limit: seconds that it may take.

    Raises:
        ConfigError: if there is no such interpreter, or the engine is not installed, fails, crashes, or takes too long.
        OSError: for a disk that is full.
    """
    words = [target, json.dumps(dict(settings)), str(source.resolve()), str(folder.resolve())]
    server = "accel.export.runtime.build_server"
    with EngineProcess(target, server, words, threads=1, python=python, time_limit=time_limit) as process:
        try:
            process.answer()
        except RuntimeFailed as error:
            raise ConfigError(f"target={target}: the model cannot be exported: {error}") from None
