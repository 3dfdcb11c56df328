"""The help page of training: examples, settings, plugins and flags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from accel.cli.arguments import Usage, program_name
from accel.cli.completion.config_files import ConfigFiles
from accel.cli.help_page import Row, help_page
from accel.schema.settings import typed_name

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Session

__all__ = ["LIMIT", "plugin_rows", "setting_rows", "train_help"]

LIMIT = "max_"
"""Beginning of the names of the lengths that share a row."""


def train_help(opened: Session, usage: Usage) -> str:
    """Return the page behind `--help`, with the config files that `opened` finds."""
    program = usage.program
    groups = [(f"{group}=NAME", ", ".join(opened.options(group))) for group in opened.groups() if group != "plugins"]
    settings = setting_rows(Path(opened.file_path(opened.name)).read_text(encoding="utf-8"))
    return help_page(
        usage.about,
        [f"{program} {words}" for words in usage.words],
        [(f"{program} {words}".rstrip(), explanation) for words, explanation in usage.examples],
        [
            ("Settings, with their defaults", [*settings, *groups]),
            ("Plugins", plugin_rows(opened.options("plugins"))),
            ("Flags", usage.flag_rows()),
        ],
        f"{program_name('plugins')} NAME shows the page of a plugin.",
    )


def plugin_rows(names: Sequence[str]) -> list[Row]:
    """Return how plugins are switched on, how many there are, and the names of those that do not come with accel."""
    known = {name for name, _ in ConfigFiles().options("plugins")}
    rows = [("'+plugins=[NAME,NAME]'", f"{len(known)} come with accel: {program_name('plugins')} lists them")]
    others = [name for name in names if name not in known]
    return [*rows, ("", ", ".join(others))] if others else rows


def setting_rows(config: str) -> list[Row]:
    """Return (`NAME=DEFAULT`, comment up to its first semicolon) of each root key of `config`, the text of config.yaml.

    The keys of a mapping share a row: `checkpoint.NAME=VALUE`, and their names and defaults. So do the lengths `max_NAME=VALUE`.
    """
    rows: list[Row] = []
    prefix = ""
    for line in config.partition("_self_\n")[2].splitlines():
        match = re.match(r"( *)(\w+): *([^#]*?) *(?:# (.*))?$", line)
        if match is None:
            continue
        indent, name, value, comment = match.groups()
        if name.startswith(LIMIT):
            if not rows[-1][0].startswith(LIMIT):
                rows.append((f"{LIMIT}NAME=VALUE", "at most: "))
            rows[-1] = (rows[-1][0], f"{rows[-1][1]}, {name.removeprefix(LIMIT)}={value}".replace(": , ", ": "))
            continue
        prefix = prefix if indent else ""
        if prefix:
            rows[-1] = (rows[-1][0], f"{rows[-1][1]}, {name}={value}".removeprefix(", "))
        elif value:
            rows.append((f"{typed_name(name)}={value}", (comment or "").partition("; ")[0]))
        else:
            prefix = f"{name}."
            rows.append((f"{prefix}NAME=VALUE", ""))
    return rows
