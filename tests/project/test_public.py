"""The public interface is written down: `__all__` in each module, and the modules that docs/internals/public.md names."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.source_trees import trees

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/internals/public.md").read_text()
ROWS = dict(re.findall(r"^\| `(accel[\w.]*)` \| (.*) \|$", PAGE, re.MULTILINE))
COMPUTED = {"plugins/__init__.py"}
"""Modules that compute `__all__` when asked for it."""


def exports(tree: ast.Module) -> list[str] | None:
    """Return the names in `__all__`, or None if a module has none."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            names: list[str] = ast.literal_eval(node.value)  # type: ignore[union-attr]
            return names
    return None


def defined(body: list[ast.stmt]) -> set[str]:
    """Return the names that statements at the top level of a module define, without those that it imports."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)}
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For):
            names |= defined([*node.body, *getattr(node, "orelse", [])])
    return names


def imported(tree: ast.Module) -> set[str]:
    """Return the names that a module imports, also for types alone."""
    return {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip


def misstated(relative: str, tree: ast.Module) -> str:
    """Return what is wrong with the `__all__` of a module; empty if nothing is."""
    names = exports(tree)
    if names is None:
        return f"{relative} has no __all__"
    if len(set(names)) < len(names):
        return f"{relative}: __all__ names something twice"
    known = defined(tree.body) | (imported(tree) if relative.endswith("__init__.py") else set())
    unknown = sorted(set(names) - known)
    return f"{relative}: __all__ names {unknown}, which it does not define" if unknown else ""


def test_each_module_says_what_it_exports() -> None:
    assert [wrong for relative, tree in trees() if relative not in COMPUTED and (wrong := misstated(relative, tree))] == []
    assert misstated("a.py", ast.parse("__all__ = ['f']\ng = 1")) == "a.py: __all__ names ['f'], which it does not define"


@pytest.mark.parametrize("module", ROWS)
def test_each_public_module_is_there(module: str) -> None:
    home = import_module(module)
    assert home.__name__ == module, f"{module} is an old path"
    for name in re.findall(r"`(\w+)`", ROWS[module]):
        assert name in home.__all__, f"{module}.{name} is on the page, and not in __all__"
        assert hasattr(home, name)


def test_every_target_is_of_a_public_module() -> None:
    lines = "".join(file.read_text() for file in sorted((ROOT / "conf").rglob("*.yaml")))
    targets = set(re.findall(r"^_target_: ([\w.]+)\.\w+$", lines, re.MULTILINE))
    assert len(targets) > 40
    assert [target for target in targets if public(target) is None] == []


def public(module: str) -> str | None:
    """Return the row of the page that a module is in, or None. A plugin's own file is in the row of all plugins."""
    row = "accel.plugins" if module.startswith("accel.plugins.") else module
    return row if row in ROWS else None


def test_what_the_documentation_imports_is_public() -> None:
    files = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "examples").rglob("*.py"),
        *(ROOT / "docs/guides").rglob("*.md"),
    ]
    imports = [
        statement
        for file in files
        for statement in re.findall(r"^ *from (accel(?:\.\w+)*) import ([\w, ]+)", file.read_text(), re.MULTILINE)
    ]
    assert len(imports) > 10
    for module, names in imports:
        assert public(module) is not None, f"{module} is used in the documentation, and not public"
        assert {name.strip() for name in names.split(",")} <= set(import_module(module).__all__)


def test_the_page_names_exactly_the_public_modules() -> None:
    assert set(ROWS) == PUBLIC


PUBLIC = {
    *("accel", "accel.trainer", "accel.errors", "accel.values", "accel.parts", "accel.plugins", "accel.optim", "accel.data"),
    *("accel.compress", "accel.pieces"),
    *("accel.data.store", "accel.data.stores.formats", "accel.system.machine", "accel.system.faults", "accel.testing"),
    *("accel.diagnose.diagnosis", "accel.diagnose.advice"),
    *("accel.tasks", "accel.tasks.digits", "accel.tasks.hf", "accel.tasks.images", "accel.tasks.text"),
}
"""A module is added here and on the page; it is taken away from both by the rule of deprecation alone."""
