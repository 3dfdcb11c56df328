"""Training from the command line: `python -m accel.train`, and the console script `accel-train`."""

from __future__ import annotations

import sys

from accel.cli.train_command import main as train

__all__ = ["main"]


def main() -> None:
    """Train according to the arguments of this process, and end it with the exit code."""
    sys.exit(train())


if __name__ == "__main__":
    main()
