"""Arguments of a subcommand: one table of flags makes the parser, the help page and the tab completion."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import accel
from accel.cli.exit_codes import MISTYPED
from accel.cli.help_page import Row, help_page
from accel.errors import ConfigError, nearest
from accel.report.terminal import say
from accel.values import check_value

__all__ = [
    "CONFIG_FLAGS",
    "HELP",
    "SETTINGS_NOTE",
    "VERSION",
    "Choices",
    "Flag",
    "Usage",
    "parse",
    "program",
    "program_name",
    "version",
]

Choices = Callable[[Sequence[str], str], Sequence[Row]]
"""Completion of positional words: takes the words before the cursor's and the cursor's own; returns (word, description)."""


@dataclass(frozen=True)
class Flag:
    """One flag of a subcommand.

    Args:
        names: all spellings, the preferred one first, such as `("--config-dir", "-cd")`.
        help: one line for the help page.
        metavar: placeholder of the value, such as `DIR`; empty for a switch, which takes no value.
        kind: annotation that the value must fit, in terms of `accel.values`.
        default: value without the flag; the value of a switch is always False.
        seldom: whether the help page leaves it out.
    """

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    kind: Any = str
    default: Any = None
    seldom: bool = False

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that are allowed, if they can be listed."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def row(self) -> Row:
        """The flag with its placeholder, and its line, for the help page."""
        shown = "|".join(self.choices) if self.metavar and 0 < len("|".join(self.choices)) <= 20 else self.metavar
        return ", ".join(self.names) + f" {shown}" * bool(shown), self.help

    def add_to(self, parser: ArgumentParser) -> None:
        """Declare the flag to `parser`."""
        if self.metavar:
            parser.add_argument(*self.names, type=self.read, default=self.default, metavar=self.metavar)
        else:
            parser.add_argument(*self.names, action="store_true")

    def read(self, text: str) -> Any:
        """Return the value that `text` stands for. Raise ArgumentTypeError, whose text is a sentence, if it does not fit."""
        try:
            return check_value(self.names[0], text if self.kind is str or self.choices else _number(text), self.kind)
        except ConfigError as error:
            raise ArgumentTypeError(str(error)) from None


HELP = Flag(("--help", "-h"), "show this page")
VERSION = Flag(("--version",), "print the version of accel")
CONFIG_FLAGS = (
    Flag(("--config-dir", "-cd"), "your own plugins/, task/, experiment/", "DIR"),
    Flag(("--config-path", "-cp"), "begin with the config.yaml in a run directory", "DIR"),
    Flag(("--config-name", "-cn"), "begin with another file than config.yaml", "NAME"),
)
"""Flags of every command that takes the settings of a new run, as training does."""
SETTINGS_NOTE = "The settings are those of python -m accel.train."
"""Line at the foot of their pages."""


@dataclass(frozen=True)
class Usage:
    """The command line of one subcommand, as far as it can be read without doing the work.

    Args:
        command: the subcommand's name, such as `pack`.
        about: sentences for the top of the help page.
        words: the positional words of each form of usage, such as `("SRC DST [FLAG ...]",)`.
        flags: the flags, without `--help` and `--version`, which all have.
        examples: (arguments, explanation) of each example; arguments do without the program's name.
        sections: (title, rows) of further tables, between examples and flags.
        complete: returns the positional words that can stand at the cursor; None for file names.
        notes: sentences for the foot of the help page.
        settings: whether it takes settings, `NAME=VALUE`.
    """

    command: str
    about: str
    words: tuple[str, ...]
    flags: tuple[Flag, ...] = ()
    examples: tuple[Row, ...] = ()
    sections: tuple[tuple[str, Sequence[Row]], ...] = ()
    complete: Choices | None = None
    notes: str = ""
    settings: bool = False

    @property
    def all_flags(self) -> tuple[Flag, ...]:
        """The flags, `--help` and `--version` among them."""
        return (*self.flags, HELP, VERSION)

    @property
    def program(self) -> str:
        """The words that started this subcommand, such as `accel pack`."""
        return program_name(self.command)

    def parse(self, arguments: Sequence[str]) -> Namespace:
        """Return flags and positional words (`words`).

        Raises:
            ConfigError: if a flag does not exist, or a value does not fit.
            SystemExit: with code 0, after `--version` has been answered.
        """
        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("words", nargs="*")
        for flag in self.all_flags:
            flag.add_to(parser)
        return parse(parser, arguments, self.command, self.settings)

    def flag_rows(self) -> list[Row]:
        """Return the rows of the help page's flags."""
        return [flag.row for flag in self.all_flags if not flag.seldom]

    def show_page(self, is_asked: bool) -> int:
        """Print the help page and return the exit code: what was asked for, or the answer to a command without words."""
        say(self.page(), file=sys.stdout if is_asked else sys.stderr)
        return 0 if is_asked else MISTYPED

    def page(self) -> str:
        """Return the help page, as wide as the terminal."""
        program = self.program
        return help_page(
            self.about,
            [f"{program} {words}" for words in self.words],
            [(f"{program} {words}".rstrip(), explanation) for words, explanation in self.examples],
            [*self.sections, ("Flags", self.flag_rows())],
            self.notes,
        )


def parse(parser: ArgumentParser, arguments: Sequence[str], command: str, settings: bool = False) -> Namespace:
    """Return the parsed arguments of subcommand `command`.

    Args:
        parser: knows the flags.
        arguments: the words of the command line.
        command: the name of the subcommand.
        settings: whether it takes settings, `NAME=VALUE`, which are typed as flags by mistake.

    Raises:
        ConfigError: instead of argparse's own exit: one sentence, with the nearest flag or choice that exists.
        SystemExit: with code 0, after `--version` has been answered.
    """
    known = {name: action for action in parser._actions for name in action.option_strings}

    def fail(message: str) -> NoReturn:
        flags = [word.partition("=")[0] for word in arguments if word.startswith("-")]
        unknown = next((flag for flag in flags if flag not in known), None)
        if unknown is not None and not re.match(r"argument .*: (expected|invalid|-)", message):
            hint = nearest(unknown, known) or f"; {program_name(command)} --help lists what there is"
            raise ConfigError(f"{command} has no flag {unknown!r}{hint}")
        raise ConfigError(_sentence(message, known))

    if "--version" in arguments:
        say(version())
        raise SystemExit(0)
    if settings and any(word.startswith("-") and word.partition("=")[0] not in known for word in arguments):
        from accel.cli.compose.setting_owners import flag_hint

        if (sentence := flag_hint(command, arguments, known)) != "":
            raise ConfigError(sentence)
    parser.error = fail  # type: ignore[method-assign]
    return parser.parse_intermixed_args(arguments)


def version() -> str:
    """Return the answer to `--version`."""
    return f"accel {accel.__version__}"


def program() -> str:
    """Return the words that start `accel` in the way this process was started."""
    return "accel" if Path(sys.argv[0] if sys.argv else "").name == "accel" else "python -m accel"


def program_name(command: str) -> str:
    """Return the words that start subcommand `command` in the way this process was started.

    `accel pack`, `python -m accel pack`, `accel-train`; `python -m accel.train` if it was started in some other way.
    """
    started = Path(sys.argv[0] if sys.argv else "")
    if command != "train" or started.name == "accel" or (started.name == "__main__.py" and started.parent.name == "accel"):
        return f"{program()} {command}"
    return "accel-train" if started.name == "accel-train" else "python -m accel.train"


def _number(text: str) -> int | float | str:
    """Return `text` as a number if it is one, and as it is otherwise."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _sentence(message: str, known: dict[str, Any]) -> str:
    """Return argparse's `message` about a flag's value as a sentence that says which values there are."""
    match = re.match(r"argument ([^\s/:]+)[^:]*: (.*)", message, re.DOTALL)
    if match is None:
        return message
    flag, complaint = match.groups()
    action = known.get(flag)
    if complaint.startswith("expected one argument"):
        return f"{flag} needs a value: {flag} {(action and (action.metavar or action.dest.upper())) or 'VALUE'}"
    if complaint.startswith("invalid choice") and action is not None:
        value = re.findall(r"'([^']*)'", complaint)[0]
        return f"{flag} must be {' or '.join(action.choices)}, not {value!r}{nearest(value, action.choices)}"
    if complaint.startswith("ignored explicit argument"):
        return f"{flag} takes no value"
    return complaint
