"""What a command asks of the run in a directory: from its configuration and what was typed, or from what the directory keeps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from accel.cli.compose.compose import compose
from accel.errors import ConfigError, nearest
from accel.schema.settings import Settings, typed_name
from accel.system import disk_errors

if TYPE_CHECKING:
    from accel.cli.compose.config import Config
    from accel.engine.request import RunRequest

__all__ = ["AskingCommand", "asked_request", "folder_of_run"]


@dataclass(frozen=True)
class AskingCommand:
    """A command about a run that is there.

    Args:
        name: its name.
        work: what it does with a run, in words.
        kinds: settings of its own.
        heeded: settings of a run that have an effect on it.
        fix: what to do where the run's task cannot be made again, the end of a sentence; `{run}` is the run directory.
        check: refuses a configuration that the command cannot take.
    """

    name: str
    work: str
    kinds: Collection[str]
    heeded: Collection[str]
    fix: str
    check: Callable[[Config], None] = lambda config: None


def folder_of_run(path: Path) -> Path:
    """Return the run directory of a path, which holds the run's config.yaml or task.json. Raise ConfigError if there is none."""
    with disk_errors.readable(path):
        folders = [path] if path.is_dir() else [path.parent, path.parent.parent]
        for name in ("config.yaml", "task.json"):
            for folder in folders:
                if (folder / name).is_file():
                    return folder
    from accel.checkpoints.weights.find_weights import run_directory_of

    if (run := run_directory_of(path)) != path and path.is_dir():  # its folder of checkpoints
        return folder_of_run(run)
    raise ConfigError(f"{path} has no config.yaml and no task.json, so it is no run directory; name one")


def asked_request(folder: Path, overrides: Sequence[str], command: AskingCommand, evaluates: str | None) -> RunRequest:
    """Return the request of a run.

    Args:
        folder: the run directory.
        overrides: settings of the run that were typed.
        command: the command that asks.
        evaluates: names of the splits to evaluate; None for those of the task.

    Raises:
        ConfigError: if a word is none that has an effect, or the task cannot be made.
    """
    refuse_mistyped(overrides, command)
    if (folder / "config.yaml").is_file():
        config = compose(overrides, config_path=str(folder))
        refuse_idle(config, overrides, command)
        command.check(config)
        from accel.cli.saved.saved_request import saved_request

        return saved_request(config, folder, evaluates)
    if overrides:
        raise ConfigError(
            f"{overrides[0]} has no effect: the run in {folder} was begun in Python, and has no config.yaml; leave it out"
        )
    if "" not in sys.path and os.getcwd() not in sys.path:  # the task may be in the current directory, as in training
        sys.path.insert(0, os.getcwd())
    from accel.engine.checks.preflight import require_one_process
    from accel.engine.loading.evaluated_splits import evaluated_on
    from accel.engine.loading.recorded_request import recorded_request

    require_one_process(command.name)
    return evaluated_on(recorded_request(folder, command.fix.format(run=repr(str(folder)))), evaluates)


def refuse_mistyped(overrides: Sequence[str], command: AskingCommand) -> None:
    """Raise ConfigError for a word that is no setting of a run, and nearly one of the command's own."""
    known = {typed_name(field.name).partition(".")[0] for field in fields(Settings)} | {"task", "plugins"}
    for word in overrides:
        name = word.partition("=")[0]
        if "." not in name and name not in known and (hint := nearest(name, command.kinds)):
            raise ConfigError(f"{word}: {name} is no setting of {command.name}{hint}")


def refuse_idle(config: Config, overrides: Sequence[str], command: AskingCommand) -> None:
    """Raise ConfigError for a setting that has no effect on a command: of the length of a run, say, or of its schedule."""
    from accel.engine.loading.evaluate_saved import TRAINING_ONLY

    idle = {typed_name(field.name) for field in fields(Settings)} - set(command.heeded)
    parts = {kind.__name__ for kind in TRAINING_ONLY}
    for word in overrides:
        name, _, value = word.lstrip("+~").partition("=")
        chosen: list[str] = []
        if name == "plugins":
            chosen = [plugin.strip() for plugin in value.strip("[]'\"").split(",")]
        elif name.startswith("plugins."):
            chosen = [name.split(".")[1]]
        plugins = [config.plugins[plugin] for plugin in chosen if plugin in config.plugins]
        if name in idle or any(plugin.part in parts for plugin in plugins):
            raise ConfigError(f"{word} has no effect on {command.work}; leave it out")
