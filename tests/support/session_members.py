"""Processes of a session: what a command has started, whoever their parent is by now."""

from __future__ import annotations

from pathlib import Path

__all__ = ["living_members"]


def living_members(session: int) -> dict[int, str]:
    """Return the processes of a session that still run, by their numbers, each with its command."""
    members = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            state, _, _, number = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                members[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            """It has ended meanwhile."""
    return members
