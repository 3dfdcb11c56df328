"""Examples in docstrings run, and everything public has a docstring."""

from __future__ import annotations

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.source_trees import FILES, ROOT, trees

WITH_EXAMPLES = [path for path in FILES if ">>> " in path.read_text()]


def test_there_are_examples() -> None:
    assert WITH_EXAMPLES


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = import_module(".".join(path.relative_to(ROOT.parent).with_suffix("").parts))
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def bare(tree: ast.Module) -> list[str]:
    """Return the public functions and classes of a module that have no docstring."""
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")]
    return [node.name for node in public if ast.get_docstring(node) is None]


def test_what_is_public_has_a_docstring() -> None:
    assert {name: names for name, tree in trees() if (names := bare(tree))} == {}
    assert bare(ast.parse("def f(): ...\ndef g():\n    '''Do it.'''")) == ["f"], "the rule is alive"
