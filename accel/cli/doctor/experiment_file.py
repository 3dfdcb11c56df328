"""The file of an experiment: overrides that were kept, with what they were measured to bring. No other file makes way for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import yaml  # type: ignore[import-untyped]

from accel.cli.compose.config_source import ConfigSource
from accel.cli.compose.hydra_session import session
from accel.errors import ConfigError
from accel.system import disk_errors
from accel.system.atomic_files import create_file

if TYPE_CHECKING:
    from accel.diagnose.trials.tried_remedy import AppliedRemedies

__all__ = ["PLACE", "experiment_path", "experiment_text", "require_new", "write_experiment"]

PLACE = "experiment"
"""Name of the fault points while the file is written."""


def experiment_path(name: str, config_dir: str | None) -> Path:
    """Return the file of an experiment in the user's directory of config files, or in `conf` here."""
    return Path(config_dir or "conf", "experiment", f"{name}.yaml")


def require_new(name: str, source: ConfigSource) -> None:
    """Check that an experiment can be written, before anything is measured for it.

    Args:
        name: of the experiment.
        source: where the config of the run is looked for.

    Raises:
        ConfigError: if there is an experiment of that name, the name is none of a file, or no file can be made there.
    """
    if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
        raise ConfigError(f"--name {name}: take letters, digits, - and _")
    file = experiment_path(name, source.config_dir)
    if os.path.lexists(file):
        raise ConfigError(f"{file} is there already; give the experiment another name: --name NAME")
    with session(*source) as opened:
        if opened.has_file(f"experiment/{name}"):
            raise ConfigError(f"--name {name}: accel has an experiment of that name; give yours another: --name NAME")
    folder = file.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        reason = "no file can be made there" if folder.is_dir() else "it is no folder"
        raise ConfigError(f"cannot write {file} ({folder}: {reason}); name another folder: --config-dir DIR")


def write_experiment(file: Path, text: str) -> Path:
    """Write a new file, and return its path. If another has come in its place meanwhile, a number is put behind the name.

    Raises:
        ConfigError: if the disk does not take it.
    """
    for path in chain([file], (file.with_name(f"{file.stem}-{number}.yaml") for number in count(2))):
        try:
            create_file(path, text.encode(), PLACE)
        except FileExistsError:
            continue
        except OSError as error:
            reason = disk_errors.disk_reason(error)
            raise ConfigError(f"cannot write {path} ({reason}); name another folder: --config-dir DIR") from None
        return path
    raise AssertionError


def experiment_text(applied: AppliedRemedies, about: Sequence[str]) -> str:
    """Return the content of the file: what was kept, and, as comments, what each brought, and how its settings were found.

    Args:
        applied: what was tried, of which one at least is kept.
        about: lines for the head.
    """
    kept = applied.kept
    lines = ["# @package _global_", *(f"# {' '.join(line.split())}" for line in [*about, *applied.lines])]
    if kept.plugins:
        lines += ["defaults:", f"  - /plugins: [{', '.join(kept.plugins)}]"]
    text = yaml.safe_dump(kept.nested, sort_keys=False, default_flow_style=False) if kept.settings else ""
    batch = applied.batch
    offered = "" if batch is None or batch.size == batch.own else f"\n# batch_size: {batch.size}\n"
    return "\n".join(lines) + "\n" + (f"\n{text}" if text else "") + offered
