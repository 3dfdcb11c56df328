"""The scripts that teach a shell to complete accel's commands; each asks `accel completion query` at every tab."""

from __future__ import annotations

from pathlib import Path

from accel.errors import ConfigError, nearest

__all__ = ["SHELLS", "shell_script"]

SHELLS = ("bash", "zsh", "fish")


def shell_script(shell: str) -> str:
    """Return the script for one shell. Raise ConfigError if the shell is none that is known."""
    if shell not in SHELLS:
        raise ConfigError(f"completion is for {', '.join(SHELLS)}, not {shell!r}{nearest(shell, SHELLS)}")
    return Path(__file__).with_name(f"accel.{shell}").read_text(encoding="utf-8")
