"""What a result was measured with."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def facts(threads: int | None, packages: list[str]) -> dict[str, Any]:
    """Date, machine, system and versions, for the head of every result; packages that are not installed are left out.

    `threads` is how many torch was told to use; None where it chose itself.
    """
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "os": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in packages if (found := installed(name))},
        "command": " ".join(["python", *sys.argv]),
    }


def cpu() -> str:
    """The name of the processor."""
    from accel.system.cpu.processor import processor_name

    return processor_name()


def installed(package: str) -> str | None:
    """The version of a distribution, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def sentence(found: dict[str, Any]) -> str:
    """The facts in one paragraph of Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    load = "" if found["load"] is None else f" (load {found['load']:g} at the start)"
    threads = "" if found["threads"] is None else f", {found['threads']} thread{'s' * (found['threads'] != 1)}"
    return (
        f"{found['date']}; {found['cpu']}, {found['cores']} cores{threads}{load}; "
        f"{found['os']}; Python {found['python']}; {versions}. `{found['command']}`"
    )
