"""All memory that accel pins is pinned in one file, which has one answer to CUDA's refusal."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2] / "accel"
HOME = "device/cuda/pinned_memory.py"
WAYS = {"pin_memory", "cudaHostRegister", "cudaHostAlloc", "cudaHostUnregister"}
"""Names by which torch pins memory: methods, arguments and functions of CUDA's runtime."""
WORDS = re.compile("|".join(WAYS))


def ways(tree: ast.AST) -> set[str]:
    """Names of what pins memory, which a module reaches as an attribute or gives as an argument."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return WAYS & (names | {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)})


def test_memory_is_pinned_in_one_file() -> None:
    files = {str(path.relative_to(ROOT)): text for path in sorted(ROOT.rglob("*.py")) if WORDS.search(text := path.read_text())}
    found = {name: names for name, text in files.items() if (names := ways(ast.parse(text)))}
    assert {"pin_memory", "cudaHostRegister"} <= found.pop(HOME), "the rule is where it was"
    assert not found, f"use accel.{HOME.removesuffix('.py').replace('/', '.')}.PinnedMemory"
