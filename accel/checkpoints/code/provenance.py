"""Provenance of a run: what it was made with and by, for people who look at it later. No environment variable is among it."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from accel.checkpoints.code.git_revision import git_revision
from accel.checkpoints.identity import versions
from accel.system.shell_quoting import command_line

__all__ = ["PACKAGES", "provenance"]

PACKAGES = {
    "numpy": "numpy", "hydra": "hydra-core", "torchvision": "torchvision", "timm": "timm", "transformers": "transformers",
    "datasets": "datasets", "peft": "peft", "PIL": "pillow", "cv2": "opencv-python-headless", "triton": "triton",
}  # fmt: skip
"""Packages whose versions are kept if the run has imported them, by their modules."""


def provenance(command: str, folder: Path | None, device: torch.device) -> dict[str, Any]:
    """Return `versions` by package, `host`, `command`, and `git`: `revision`, `dirty` and the digest `diff`; empty without git.

    Args:
        command: the command that started the run; empty for a script, whose own is taken.
        folder: the folder of the user's code; None for a run that writes nothing, of which nothing is kept.
        device: of the run.
    """
    if folder is None:
        return {}
    known = versions(device)
    known |= {package: number for module, package in PACKAGES.items() if module in sys.modules and (number := _version(package))}
    return {
        "versions": known,
        "host": platform.node(),
        "command": command or command_line([*sys.orig_argv]),
        "git": git_revision(folder),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
