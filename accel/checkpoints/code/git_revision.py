"""The git revision of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from accel.system.call_stack import is_user_code

__all__ = ["code_folder", "git_revision"]

SECONDS = 5
"""Longest wait for git: a revision is worth no more."""


@cache  # of a process: what it has imported stays what it was
def git_revision(folder: Path) -> dict[str, Any]:
    """Return the `revision` (a hash) of the repository around a folder and whether it is `dirty`; empty without git or repository.

    It is dirty if a tracked file differs from the revision. Then `diff` is a digest of all differences, 16 hexadecimal digits: two
    runs that have it in common had the same tracked files.
    """
    described = _output(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").decode()
    revision, _, mark = described.strip().partition("-")
    if not revision:
        return {}
    known: dict[str, Any] = {"revision": revision, "dirty": mark == "dirty"}
    if known["dirty"] and (diff := _output(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color", "--no-renames")):
        known["diff"] = sha256(diff).hexdigest()[:16]
    return known


def _output(folder: Path, *words: str) -> bytes:
    """Return what git prints in a folder; nothing if it fails, takes too long or is not there."""
    command, environment = ["git", "-C", str(folder), *words], os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.run(command, capture_output=True, timeout=SECONDS, check=True, env=environment).stdout
    except (OSError, subprocess.SubprocessError, ValueError):
        return b""


def code_folder(objects: Iterable[Any]) -> Path:
    """Return the folder of the first class or function that is the user's and has a file; the working directory if none has."""
    for value in objects:
        code = getattr(value, "__code__", None)
        file = getattr(sys.modules.get(getattr(value, "__module__", "")), "__file__", None) if code is None else code.co_filename
        if file and is_user_code(file) and Path(file).is_file():
            return Path(file).resolve().parent
    return Path.cwd()
