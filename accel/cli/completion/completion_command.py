"""The subcommand `completion`: the script for a shell, and the answers to what that script asks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from accel.cli.arguments import Usage
from accel.cli.completion.shell_scripts import SHELLS, shell_script
from accel.cli.help_page import Row
from accel.errors import ConfigError, visible
from accel.report.terminal import say

__all__ = ["USAGE", "complete_shells", "main", "query"]


def complete_shells(words: Sequence[str], word: str) -> list[Row]:
    """Return the shells that there is a script for."""
    return [] if words else [(shell, "") for shell in SHELLS]


USAGE = Usage(
    "completion",
    "Print the script that completes accel's commands, flags, plugins, settings and their values at every tab. It covers "
    "accel, accel-train, python -m accel and python -m accel.train.",
    ("bash|zsh|fish",),
    examples=(
        ("bash >> ~/.bashrc", "for every new bash"),
        ("zsh >> ~/.zshrc", "for every new zsh, below the line with compinit"),
        ("fish > ~/.config/fish/completions/accel.fish", "for every new fish"),
    ),
    complete=complete_shells,
)


def main(arguments: Sequence[str]) -> int:
    """Print a script, or candidates; return the exit code. Raise ConfigError if the shell is none that is known."""
    if arguments[:1] == ["query"]:
        with suppress(Exception):  # at a tab, no candidates are better than an error across the line
            say("".join(f"{answer}\n" for answer in query(*arguments[1:]) if visible(answer, "\t") == answer), end="")
        return 0
    args = USAGE.parse(arguments)
    if args.help:
        say(USAGE.page())
        return 0
    if len(args.words) != 1:
        raise ConfigError(f"completion takes one shell: {', '.join(SHELLS)}")
    say(shell_script(args.words[0]), end="")
    return 0


def query(shell: str, text: str, breaks: str = "") -> list[str]:
    """Return the candidates at the end of a line, in the form that the script of `shell` reads.

    Args:
        shell: for bash, the text to be inserted; for the others, the whole word, a tab and a description. Words that are
            finished end in a space.
        text: the line up to the cursor.
        breaks: the characters at which bash begins a new word.
    """
    from accel.cli.completion.candidates import candidates, is_finished
    from accel.cli.completion.shell_words import split_line

    line = split_line(text)
    rows = [(f"{word} " if is_finished(word) else word, about) for word, about in candidates(line)]
    if shell == "bash":
        return line.for_bash([word for word, _ in rows], breaks)
    return [f"{word}\t{about}" for word, about in rows]
