"""The house: how many rooms there are, how large they are, and what they may be called."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2] / "accel"
FILES = sorted(ROOT.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
SHARED_NAMES = ("parts", "plugins", "optim")
"""A part, the plugins of it and an optimiser may have one name; no other two modules may."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_root_has_few_rooms() -> None:
    assert len([folder for folder in FOLDERS if folder.parent == ROOT]) <= 15
    assert len([path for path in ROOT.glob("*.py") if not path.name.startswith("__")]) <= 4


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder.name != "plugins"], ids=name_of)
def test_no_folder_is_crowded(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= 16


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_says_what_it_holds(folder: Path) -> None:
    assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))


def test_no_two_modules_have_one_name() -> None:
    names = Counter(path.stem for path in FILES if path.relative_to(ROOT).parts[0] not in SHARED_NAMES and path.stem[0] != "_")
    assert [name for name, count in names.items() if count > 1] == []
    for folder in SHARED_NAMES:
        here = {path.stem for path in FILES if path.relative_to(ROOT).parts[0] == folder and path.stem[0] != "_"}
        assert not here & names.keys(), f"{folder}: another room has a module of the same name"


def test_files_are_short() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert median(lines.values()) < 120
    assert {name: count for name, count in lines.items() if count > 250} == {}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert code_lines(node) <= 45, f"{node.name} has {code_lines(node)} lines"


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the signature to the last statement, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is None:
        return lines
    docstring = node.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_locals_bear_the_noun_of_their_value(path: Path) -> None:
    stored = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    arguments = {node.arg for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.arg)}
    assert not (stored | arguments) & {"found", "ours", "said", "told"}
