"""Source text of modules, read without importing them: the file of a module, and the meaning of a name in it."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from accel.errors import ConfigError
from accel.system.deprecation.old_paths import current_path

__all__ = ["Definition", "SourceText", "find", "locate", "read"]

STARS = 3
"""The most imports to follow behind a `from module import *`: any name may be there."""


@dataclass(frozen=True)
class SourceText:
    """The text of one module. `names` has for each name at its top level a class, an import, or the assigned value."""

    module: str
    path: Path
    text: str
    doc: str
    names: dict[str, ast.AST]

    @property
    def package(self) -> str:
        """The package that relative imports in the module are relative to."""
        return self.module if self.path.name == "__init__.py" else self.module.rpartition(".")[0]


@dataclass(frozen=True)
class Definition:
    """A class statement, or a value assigned to a name, and its module."""

    source: SourceText
    node: ast.AST


def locate(module: str) -> Path | None:
    """Return the file of `module`, found as an import would, but without running its packages; None if there is none."""
    module = current_path(module)
    place = _locate(module)
    if place is None:
        importlib.invalidate_caches()  # the file may be younger than the last look at its folder
        place = _locate(module)
    return place


def _locate(module: str) -> Path | None:
    path, origin = None, None
    names = module.split(".")
    for end in range(1, len(names) + 1):
        name = ".".join(names[:end])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path if name and hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is None:
            return None
        path, origin = spec.submodule_search_locations, spec.origin
    if origin is None and path:  # a folder without __init__.py is a package too
        return Path(next(iter(path)), "__init__.py")
    return Path(origin) if origin else None


def read(module: str) -> SourceText | None:
    """Return the text of `module`, or None if it has none. Raise ConfigError if the text is not Python."""
    module = current_path(module)
    path = locate(module)
    if path is None or path.suffix != ".py" or not path.is_file():
        return None
    return _parse(module, path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _parse(module: str, path: Path, _changed: int) -> SourceText:
    """Return the parsed text of a file; the time of its last change is a key of the cache."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ConfigError(f"{path}{line}: {getattr(error, 'msg', error)}") from None
    return SourceText(module, path, text, ast.get_docstring(tree) or "", dict(_names(tree.body)))


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Yield each name at the top level of a module with its node."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:  # each `from module import *` has a name of its own
                yield f"*{ast.unparse(node)}" if alias.name == "*" else alias.asname or alias.name.partition(".")[0], node
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value
        elif isinstance(node, ast.If):  # `if TYPE_CHECKING:` names what a lazy package hands out
            yield from _names(node.body)
            yield from _names(node.orelse)
        elif isinstance(node, ast.Try):
            yield from _names(node.body)


def find(module: str, dotted: str, depth: int = 20) -> Definition | None:
    """Return the definition of a dotted name inside a module, through any number of imports; None if text does not tell.

    Args:
        module: a dotted module name.
        dotted: the name, such as `Optim` or `parts.Optim`.
        depth: the most imports to follow.
    """
    source = read(module)
    first, _, rest = dotted.partition(".")
    if source is None or depth == 0:
        return None
    if first not in source.names:
        return _find_in_stars(source, dotted, depth)
    node = source.names[first]
    if isinstance(node, ast.Import):
        alias = next(alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) == first)
        return _inside(alias.name if alias.asname else first, rest, depth)
    if isinstance(node, ast.ImportFrom):
        alias = next(alias for alias in node.names if (alias.asname or alias.name) == first)
        imported_module = _absolute(source, node)
        if definition := find(imported_module, f"{alias.name}.{rest}".rstrip("."), depth - 1):
            return definition
        return _inside(f"{imported_module}.{alias.name}", rest, depth)
    return None if rest else Definition(source, node)


def _find_in_stars(source: SourceText, dotted: str, depth: int) -> Definition | None:
    """Return the definition of a name that `from module import *` brings into a module; the last that has it counts."""
    if dotted.startswith("_"):
        return None
    for node in (node for name, node in reversed(source.names.items()) if name.startswith("*")):
        if isinstance(node, ast.ImportFrom) and (definition := find(_absolute(source, node), dotted, min(depth - 1, STARS))):
            return definition
    return None


def _inside(module: str, dotted: str, depth: int) -> Definition | None:
    """Return the definition of `dotted` in `module`, of which leading names may be submodules."""
    while dotted:
        if definition := find(module, dotted, depth - 1):
            return definition
        first, _, dotted = dotted.partition(".")
        module = f"{module}.{first}"
    return None


def _absolute(source: SourceText, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module that an import statement names."""
    if not node.level:
        return node.module or ""
    package = source.package.split(".")
    parents = package[: len(package) - node.level + 1]
    return ".".join([*parents, node.module] if node.module else parents)
