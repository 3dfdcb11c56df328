"""Candidates for the word at the cursor, on the line of any command of accel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accel.cli.arguments import HELP, VERSION, Flag, Usage
from accel.cli.commands import COMMANDS, find_command
from accel.cli.completion.path_candidates import path_candidates
from accel.cli.completion.shell_words import Line
from accel.cli.help_page import Row
from accel.errors import ConfigError

__all__ = ["UNFINISHED", "candidates", "is_finished"]

UNFINISHED = ("=", ".", "[", ",", "/")
"""Ends of candidates that more is typed behind."""


def candidates(line: Line) -> list[Row]:
    """Return (word, description) of all words that the last word of `line` can become; none for other programs."""
    arguments = _accel_arguments(line.words)
    if arguments is None:
        return []
    *words, word = arguments
    return [row for row in _rows(words, word) if row[0].startswith(word)]


def is_finished(candidate: str) -> bool:
    """Return whether nothing can be typed behind a candidate, so that a space may follow."""
    return not candidate.endswith(UNFINISHED) and ("=[" not in candidate or candidate.endswith("]"))


def _accel_arguments(words: Sequence[str]) -> list[str] | None:
    """Return the arguments of `accel` that `words` amount to, however it is started; None for another program."""
    program, rest = Path(words[0]).name, list(words[1:])
    if program.startswith("python") and len(rest) > 2 and rest[0] == "-m":
        program, rest = {"accel.train": "accel-train"}.get(rest[1], rest[1]), rest[2:]
    if not rest or program not in ("accel", "accel-train"):
        return None
    return ["train", *rest] if program == "accel-train" else rest


def _rows(words: Sequence[str], word: str) -> list[Row]:
    """Return the candidates for `word` behind the arguments `words`; some may not begin with it."""
    commands = [(command.name, command.about) for command in COMMANDS]
    if not words:
        return [*commands, *_flag_rows((HELP, VERSION))]
    if words[0] == "help":
        return commands if len(words) == 1 else []
    try:
        usage = find_command(words[0]).load().USAGE
    except ConfigError:
        return []
    return _usage_rows(usage, words[1:], word)


def _usage_rows(usage: Usage, words: Sequence[str], word: str) -> list[Row]:
    """Return the candidates for an argument of one subcommand: a flag, the value of a flag, or a positional word."""
    flags = {name: flag for flag in usage.all_flags for name in flag.names}
    name, equals, value = word.partition("=")
    if equals and name in flags:
        return [(f"{name}={candidate}", about) for candidate, about in _flag_values(flags[name], value)]
    if words and words[-1] in flags and flags[words[-1]].metavar:
        return _flag_values(flags[words[-1]], word)
    if word.startswith("-"):
        return _flag_rows(usage.all_flags)
    return list(usage.complete(words, word)) if usage.complete is not None else path_candidates(word)


def _flag_rows(flags: Sequence[Flag]) -> list[Row]:
    """Return (preferred spelling, help) of each flag."""
    return [(flag.names[0], flag.help) for flag in flags]


def _flag_values(flag: Flag, value: str) -> list[Row]:
    """Return the values of a flag: its choices, folders if it takes one, and none otherwise."""
    if flag.choices:
        return [(choice, "") for choice in flag.choices]
    return path_candidates(value, only_folders=True) if flag.metavar == "DIR" else []
