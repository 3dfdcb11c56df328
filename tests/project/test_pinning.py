"""All memory that accel pins is pinned in one file, which has one answer to CUDA's refusal."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "accel"
FILES = sorted(ROOT.rglob("*.py"))
HOME = "device/cuda/pinned_memory.py"
WAYS = {"pin_memory", "cudaHostRegister", "cudaHostAlloc", "cudaHostUnregister"}
"""Names by which torch pins memory: methods, arguments and functions of CUDA's runtime."""


def ways(tree: ast.AST) -> set[str]:
    """Names of what pins memory, which a module reaches as an attribute or gives as an argument."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return WAYS & (names | {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_memory_is_pinned_in_one_file(path: Path) -> None:
    if str(path.relative_to(ROOT)) == HOME:
        assert {"pin_memory", "cudaHostRegister"} <= ways(ast.parse(path.read_text())), "the rule is where it was"
    else:
        assert not ways(ast.parse(path.read_text())), f"use accel.{HOME.removesuffix('.py').replace('/', '.')}.PinnedMemory"
