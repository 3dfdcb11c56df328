"""The source of accel as syntax trees: a rule over all files is one test, which names each file that breaks it."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2] / "accel"
FILES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the path of a file or folder relative to accel/, with slashes."""
    return path.relative_to(ROOT).as_posix()


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield the name of each file and its tree. They are kept until `forget_trees`."""
    yield from _parsed()


@cache
def _parsed() -> list[tuple[str, ast.Module]]:
    gc.disable()
    parsed = [(name_of(path), ast.parse(path.read_text())) for path in FILES]
    gc.freeze()  # half a million nodes would lengthen every garbage collection
    gc.enable()
    return parsed


def forget_trees() -> None:
    """Let go of the trees, for processes that are forked of this one."""
    _parsed.cache_clear()
