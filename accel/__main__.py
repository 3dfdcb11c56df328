"""The command `accel`, and `python -m accel`: training and everything beside it, a subcommand each."""

from __future__ import annotations

import sys

from accel.cli.commands import run_command
from accel.cli.exit_codes import exit_code

__all__ = ["accel", "main"]


def main(arguments: list[str]) -> int:
    """Run the subcommand that `arguments` begin with; return its exit code. Raise ConfigError if it cannot work."""
    return run_command(arguments)


def accel() -> None:
    """Run the command line, and end the process with its exit code. This is the console script `accel`."""
    sys.exit(exit_code(lambda: main(sys.argv[1:])))


if __name__ == "__main__":
    accel()
