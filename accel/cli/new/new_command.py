"""The subcommand `new`: a project with a task that trains at once, its configs and its test."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree

from accel.cli.arguments import Usage
from accel.cli.new.project_files import FILES, project_files
from accel.errors import ConfigError
from accel.report.terminal import say
from accel.system import atomic_files, disk_errors
from accel.system.shell_quoting import command_line

__all__ = ["USAGE", "main", "make_project"]

USAGE = Usage(
    "new",
    "Make a project in a folder NAME: a task that trains at once, its configs, and its test.",
    ("NAME",),
    examples=(("rings", "rings/ with rings.py, conf/ and tests/"),),
)


def main(arguments: Sequence[str]) -> int:
    """Make the project and print what to type in it; return the exit code. Raise ConfigError if it cannot be made."""
    args = USAGE.parse(arguments)
    if args.help or not args.words:
        return USAGE.show_page(args.help)
    if len(args.words) > 1:
        raise ConfigError(f"{command_line(args.words[1:])}: a project has one name")
    folder = Path(args.words[0])
    make_project(folder)
    train = command_line(["python", "-m", "accel.train", "--config-dir", "conf", f"task={folder.name}", "+experiment=first"])
    say(f"{folder} is a project; train its task with\n  cd {command_line([str(folder)])}\n  {train}")
    return 0


def make_project(folder: Path) -> None:
    """Make a project, whole or not at all.

    Raises:
        ConfigError: if the folder is there, or its name cannot be that of a module, or it cannot be written.
    """
    name = folder.name
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise ConfigError(f"{name!r} cannot be the name of a module: write it in small letters, digits and _, such as my_task")
    if taken := [path for path in FILES if Path(path).parts[0] in (name, f"{name}.py")]:
        raise ConfigError(f"a project has {taken[0]}, which a task of the name {name!r} would hide: choose another name")
    if name in sys.stdlib_module_names or (find_spec(name) is not None and not folder.exists()):
        raise ConfigError(f"a module is called {name!r} already, and the task would hide it: choose another name")
    if folder.exists():
        raise ConfigError(f"{folder} is there already: choose another name")
    try:
        with atomic_files.swapped_in(folder) as new:
            for path, text in project_files(name).items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                (new / path).write_text(text, encoding="utf-8")
    except OSError as error:
        for part in folder.parent.glob(f".*.{name}"):
            rmtree(part, ignore_errors=True)
        raise ConfigError(f"{folder} cannot be made: {disk_errors.disk_reason(error)}") from None
