"""Runs a command on null devices: `python -m tests.rehearsal devices=2 -m pytest tests/cuda`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from tests.rehearsal.build import BuildFailed, CannotRehearse, build
from tests.rehearsal.libraries import PRELOADED

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "devices": "how many devices there are",
    "capability": "of the devices: 90 is 9.0, 75 a T4",
    "memory_mb": "of each device",
    "lazy": "1: work is done as late as CUDA allows, and races show",
    "registers": "0: host memory cannot be registered, as under a limit of locked memory",
    "pinned_kb": "of host memory that can be allocated pinned, beside single numbers",
    "patience": "how many queries find an event not ready, when lazy",
    "quiet": "1: races are counted and not printed",
    "arithmetic": "0: kernels compute nothing and are only counted",
    "clock": "of the cores in MHz, as NVML tells; at most it is 1980",
    "slowed": "why it is low, as NVML's bits: 4 is the power limit, 32 heat",
    "lanes": "of PCIe, of 16",
}


def environment(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return the environment in which a process finds the stand-ins of `folder` in place of NVIDIA's libraries."""
    inherited = dict(os.environ)
    paths = [str(ROOT), str(Path(__file__).parent / "site-packages"), *filter(None, [inherited.get("PYTHONPATH")])]
    return inherited | {
        "LD_PRELOAD": " ".join(str(folder / name) for name in PRELOADED),
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": os.pathsep.join(paths),
        **{f"NULLCUDA_{name.upper()}": value for name, value in settings.items()},
    }


def parse(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the settings that stand first, and the command. Raise SystemExit for a setting that there is not."""
    settings: dict[str, str] = {}
    while arguments and re.fullmatch(r"[a-z_]+=.*", arguments[0]):
        name, _, value = arguments.pop(0).partition("=")
        if name not in SETTINGS:
            sys.exit(f"rehearsal: there is no setting {name}; there are {', '.join(SETTINGS)}")
        settings[name] = value
    if not arguments:
        sys.exit("usage: python -m tests.rehearsal [SETTING=VALUE...] COMMAND..., with the settings\n" + settings_table())
    return settings, arguments


def settings_table() -> str:
    """Return the settings, one a line."""
    return "\n".join(f"  {name:12} {about}" for name, about in SETTINGS.items())


def main(arguments: list[str]) -> None:
    """Replace this process by the command; one that begins with `-` or ends in `.py` is run by this Python."""
    settings, command = parse(arguments)
    if command[0].startswith("-") or command[0].endswith(".py"):
        command.insert(0, sys.executable)
    try:
        folder = build()
    except (CannotRehearse, BuildFailed) as why:
        sys.exit(f"rehearsal: {why}")
    os.execvpe(command[0], command, environment(folder, settings))


if __name__ == "__main__":
    main(sys.argv[1:])
