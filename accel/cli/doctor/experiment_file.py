"""The file of an experiment: overrides that were kept, with what they were measured to bring."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]

from accel.errors import ConfigError

if TYPE_CHECKING:
    from accel.diagnose.applied import TriedRemedy

__all__ = ["experiment_path", "experiment_text", "merged"]


def experiment_path(name: str, config_dir: str | None) -> Path:
    """Return the file of an experiment in the user's directory of config files, or in `conf` here.

    Raises:
        ConfigError: if it is there already, or the name is none of a file.
    """
    if not name.replace("_", "").replace("-", "").isalnum():
        raise ConfigError(f"--name {name}: take letters, digits, - and _")
    file = Path(config_dir or "conf", "experiment", f"{name}.yaml")
    if file.exists():
        raise ConfigError(f"{file} is there already; give the experiment another name: --name NAME")
    return file


def experiment_text(tried: Sequence[TriedRemedy], about: Sequence[str]) -> str:
    """Return the content of the file: what was kept, and, as comments, what each brought.

    Args:
        tried: what was tried, of which one at least is kept.
        about: lines for the head.
    """
    words = [word for one in tried if one.is_kept for word in one.words]
    plugins, settings = merged(words)
    lines = ["# @package _global_", *(f"# {line}" for line in about)]
    for one in tried:
        if one.speed is not None:
            bounds = f"{one.speed.ratio:.2f} ({one.speed.low:.2f} to {one.speed.high:.2f}) times as fast"
            predicted = "" if one.remedy.of_updates is None else f", {one.remedy.of_updates.middle:.2f} predicted"
            lines.append(f"# {'kept' if one.is_kept else 'left out'}: {' '.join(one.words)}: {bounds}{predicted}")
    if plugins:
        lines += ["defaults:", f"  - /plugins: [{', '.join(plugins)}]"]
    text = yaml.safe_dump(settings, sort_keys=False, default_flow_style=False) if settings else ""
    return "\n".join(lines) + "\n" + (f"\n{text}" if text else "")


def merged(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the plugins that overrides switch on, and the settings that they set, nested.

    >>> merged(["+plugins=[threads]", "plugins.threads.count=8", "+plugins=[amp]", "evaluate.epochs=2"])
    (['threads', 'amp'], {'plugins': {'threads': {'count': 8}}, 'evaluate': {'epochs': 2}})
    """
    plugins: list[str] = []
    settings: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key == "+plugins":
            plugins += [name for name in value.strip("[]").split(",") if name not in plugins]
            continue
        place = settings
        *folders, name = key.split(".")
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = yaml.safe_load(value.replace(":", ": "))
    return plugins, settings
