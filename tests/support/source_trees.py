"""The source of accel as syntax trees: a rule over all files is one test, which names each file that breaks it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2] / "accel"
FILES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the path of a file or folder relative to accel/, with slashes."""
    return path.relative_to(ROOT).as_posix()


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield the name of each file and its tree. None is kept: half a million nodes would lengthen every garbage collection."""
    for path in FILES:
        yield name_of(path), ast.parse(path.read_text())
