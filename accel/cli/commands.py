"""The table of subcommands. A new one is one row; its module is imported only when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from accel.cli import torchrun
from accel.cli.arguments import HELP, VERSION, Usage, program, version
from accel.cli.help_page import help_page
from accel.errors import ConfigError, nearest
from accel.report.terminal import say
from accel.schema import plugin_registry

__all__ = ["COMMANDS", "EXAMPLES", "Command", "CommandModule", "find_command", "overview", "run_command"]


class CommandModule(Protocol):
    """The module of a subcommand. Importing it must be fast: the work is imported inside `main`."""

    USAGE: Usage

    def main(self, arguments: Sequence[str]) -> int:
        """Run the subcommand; return its exit code."""
        ...


@dataclass(frozen=True)
class Command:
    """One subcommand: its name, the module that is imported when it is called, and one line about it.

    One that does not take ranks is refused under torchrun: each process would do all of it, into the same files.
    """

    name: str
    module: str
    about: str
    takes_ranks: bool = False

    def load(self) -> CommandModule:
        """Return the imported module."""
        return import_module(self.module)


COMMANDS = (
    Command("new", "accel.cli.new.new_command", "make a project: a task, its configs and its test"),
    Command("train", "accel.cli.train_command", "train a model, as python -m accel.train does", True),
    Command("evaluate", "accel.cli.saved.evaluate_command", "the metrics of the weights that a run keeps", True),
    Command("predict", "accel.cli.saved.predict_command", "what the model of a run sees in files"),
    Command("export", "accel.cli.export.export_command", "the model of a run for other engines, proven"),
    Command("report", "accel.cli.saved.report_command", "the page of a run, or of several that are compared"),
    Command("doctor", "accel.cli.doctor.doctor_command", "measure why a run is slow, and what to type next", True),
    Command("advise", "accel.cli.advise.advise_command", "look at a model layer by layer, and say what in it to change"),
    Command("plugins", "accel.cli.plugins_command", "list the plugins, or show the page of one"),
    Command("pack", "accel.cli.pack.pack_command", "put class folders of pictures into one file each, read faster"),
    Command("ablate", "accel.cli.ablate.ablate_command", "measure what each plugin of a run brings, and which to keep"),
    Command("drill", "accel.cli.drill_command", "kill a run again and again, and compare what it learns bit by bit"),
    Command("completion", "accel.cli.completion.completion_command", "print the script for tab completion in bash, zsh or fish"),
)

EXAMPLES = (
    ("train '+plugins=[amp,onecycle]' epochs=6", "train on the digits that come with scikit-learn"),
    ("doctor task=images task.root=DIR", "why this run is slow, and what would make it faster"),
    ("advise task=images task.root=DIR", "what in its model costs time, and what to change"),
    ("predict RUN DIR", "what the model of a run sees in the files of DIR"),
    ("report RUN RUN", "two runs compared on a page"),
    ("pack DIR DIR", "make the pictures in DIR faster to read"),
    ("ablate '+plugins=[amp,channels_last]'", "what each of two plugins brings, and at what cost"),
    ("drill kill epochs=2 checkpoint.every=10", "prove that a run survives kill -9"),
)


def run_command(arguments: Sequence[str]) -> int:
    """Run the subcommand that `arguments` begin with; return its exit code.

    Raises:
        ConfigError: if there is no such subcommand, or it cannot work.
    """
    name, *rest = arguments or ["--help"]
    if name in ("version", *VERSION.names):
        say(version())
        return 0
    if name in ("help", *HELP.names) and not rest:
        say(overview())
        return 0
    if name == "help":
        name, rest = rest[0], ["--help"]
    command = find_command(name)
    if torchrun.world_size() > 1 and not command.takes_ranks:
        raise ConfigError(f"{name} is work for one process, and {torchrun.world_size()} were started; start it without torchrun")
    return command.load().main(rest)


def find_command(name: str) -> Command:
    """Return the subcommand called `name`. Raise ConfigError if there is none."""
    for command in COMMANDS:
        if command.name == name:
            return command
    if name.startswith("-"):
        hint = nearest(name, [HELP.names[0], *VERSION.names]) or f"; {program()} --help lists what there is"
        raise ConfigError(f"{program()} has no flag {name!r}{hint}")
    if "=" in name:
        raise ConfigError(f"{name} is a setting, and settings follow a command; did you mean '{program()} train {name}'?")
    if (plugin_registry.FOLDER / f"{name}.py").is_file():
        raise ConfigError(f"no command is called {name!r}; did you mean '{program()} plugins {name}'?")
    names = [command.name for command in COMMANDS]
    hint = nearest(name, names) or f"; there is {', '.join(names)}"
    raise ConfigError(f"no command is called {name!r}{hint}")


def overview() -> str:
    """Return the page of `accel` alone: all subcommands, and an example of each."""
    rows = [(command.name, command.about) for command in COMMANDS]
    return help_page(
        "accel trains PyTorch models faster, one plugin at a time, and exactly.",
        [f"{program()} COMMAND [ARGUMENT ...]"],
        [(f"{program()} {words}", explanation) for words, explanation in EXAMPLES],
        [("Commands", rows), ("Flags", [HELP.row, VERSION.row])],
        f"{program()} COMMAND --help has the page of one command.",
    )
