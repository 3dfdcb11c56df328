"""The subcommand `plugins`: the list of plugins, or the page of one."""

from __future__ import annotations

from collections.abc import Sequence

from accel.cli.arguments import Usage
from accel.cli.completion.config_files import ConfigFiles
from accel.cli.help_page import Row
from accel.report.terminal import say

__all__ = ["USAGE", "complete_names", "main"]


def complete_names(words: Sequence[str], word: str) -> list[Row]:
    """Return (name, summary) of the plugins and bundles that are not among `words`."""
    return [row for row in ConfigFiles().options("plugins") if row[0] not in words]


USAGE = Usage(
    "plugins",
    "List the plugins, or show the page of one: what it does, when it helps and hurts, what it costs, its settings.",
    ("[NAME ...]",),
    examples=(("", "a line for each plugin"), ("amp", "the page of one"), ("fast", "a bundle: the plugins that it lists")),
    complete=complete_names,
)


def main(arguments: Sequence[str]) -> int:
    """Print the list, or the pages of the plugins named; return the exit code. Raise ConfigError for an unknown name."""
    args = USAGE.parse(arguments)
    if args.help:
        say(USAGE.page())
        return 0
    from accel.cli import plugin_pages

    if args.words:
        say("\n\n".join(map(plugin_pages.plugin_page, args.words)))
    else:
        say("\n".join(plugin_pages.plugin_list(plugin_pages.terminal_width())))
    return 0
