"""The house: how many rooms there are, how large they are, and what they may be called."""

from __future__ import annotations

import ast
from collections import Counter
from statistics import median

from tests.support.source_trees import FILES, ROOT, name_of, trees

FOLDERS = sorted({path.parent for path in FILES})
SHARED_NAMES = ("parts", "plugins", "optim")
"""A part, the plugins of it and an optimiser may have one name; no other two modules may."""


def test_the_root_has_few_rooms() -> None:
    assert len([folder for folder in FOLDERS if folder.parent == ROOT]) <= 18
    assert len([path for path in ROOT.glob("*.py") if not path.name.startswith("__")]) <= 4


def test_no_folder_is_crowded() -> None:
    files = Counter(name_of(path.parent) for path in FILES)
    assert {name: count for name, count in files.items() if count > 16 and name != "plugins"} == {}


def test_a_folder_says_what_it_holds() -> None:
    rooms = [folder / "__init__.py" for folder in FOLDERS]
    assert [name_of(room) for room in rooms if not ast.get_docstring(ast.parse(room.read_text()))] == []


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


def test_functions_are_short() -> None:
    functions = (
        (f"{name}: {node.name}", code_lines(node))
        for name, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )  # fmt: skip
    assert {name: lines for name, lines in functions if lines > 45} == {}


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the signature to the last statement, without the docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node) is None:
        return lines
    docstring = node.body[0]
    return lines - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


COINED = {"found", "ours", "said", "told"}


def coined(tree: ast.Module) -> set[str]:
    """Return the locals and arguments whose name is none of the field's own terms."""
    names = {node.id if isinstance(node, ast.Name) else node.arg for node in ast.walk(tree) if isinstance(node, ast.Name | ast.arg)}
    return names & COINED


def test_locals_bear_the_noun_of_their_value() -> None:
    assert {name: names for name, tree in trees() if (names := coined(tree))} == {}
    assert coined(ast.parse("def f(ours):\n    found = 1")) == COINED - {"said", "told"}, "the rule is alive"
