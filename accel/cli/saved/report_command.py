"""The subcommand `report`: the page of a run is made anew, or several runs are compared on one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accel.cli.arguments import Usage
from accel.cli.completion.path_candidates import path_candidates
from accel.cli.help_page import Row
from accel.cli.saved.own_words import check_words, own_candidates, require_path, split_words
from accel.report.terminal import say
from accel.system.stop_signals import StopSignals

__all__ = ["KINDS", "USAGE", "complete_words", "main"]

KINDS: dict[str, Any] = {"out": str}
"""The kind of each setting of the command, by name."""


def complete_words(words: Sequence[str], word: str) -> list[Row]:
    """Return run directories, and behind the first one the settings too."""
    return [*(own_candidates(KINDS, word) if words else []), *([] if "=" in word else path_candidates(word, only_folders=True))]


USAGE = Usage(
    "report",
    "Write the page of a run anew: its result, curves, times, plan and machine, and what doctor, ablate and advise measured where "
    "their JSON lies in the run. Several runs are compared. A page is one file that loads nothing; runs may still be going.",
    ("RUN [RUN ...] [out=FILE]",),
    examples=(
        ("RUN", "writes RUN/report.html"),
        ("RUN RUN", "writes comparison.html: curves, differing settings, who is ahead"),
        ("outputs/DATE/TIME out=page.html", "the jobs of a multirun"),
    ),
    sections=(("Settings", (("out=FILE", "the file to write"),)),),
    complete=complete_words,
    notes="A run writes its own page at its end, unless plugins.metrics.report=false.",
)


def main(arguments: Sequence[str]) -> int:
    """Write a report and print the name of its file; return the exit code. Raise ConfigError if that cannot work."""
    args = USAGE.parse(arguments)
    if args.help or not args.words:
        return USAGE.show_page(args.help)
    settings, words = split_words(args.words, KINDS)
    check_words(words, KINDS, USAGE.command)
    runs = [require_path(word, USAGE.command) for word in words]
    from accel.report.html.write_report import write_report

    with StopSignals(at_once=True):  # what is half written is taken away
        page = write_report(*runs, out=settings.get("out"))
    say(page)
    return 0
