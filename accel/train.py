"""`python -m accel.train`, and the console script `accel-train`: trains what the command line says."""

from __future__ import annotations

import sys

from accel.cli.main import main as run

__all__ = ["main"]


def main() -> None:
    """Runs the command line and exits with its code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
