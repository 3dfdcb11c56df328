"""Text of a function that comments, docstrings, annotations and formatting do not change: its syntax tree, or else its bytecode."""

from __future__ import annotations

import ast
import dis
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

__all__ = ["assignments", "bytecode", "function_text", "names_of", "plain_text", "syntax_tree"]

_DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def function_text(code: CodeType) -> str:
    """Return the text of a function: the dump of its syntax tree; its instructions and constants if it has no source."""
    return _syntax(code) or bytecode(code)


def _syntax(code: CodeType) -> str:
    tree = syntax_tree(code.co_filename)
    nodes = [node for node in ast.walk(tree) if isinstance(node, _Function) and _matches(node, code)] if tree else []
    if len(nodes) > 1:  # several lambdas in a line
        spans = {(line, column, end, end_column) for line, end, column, end_column in code.co_positions()}
        bodies = [(node, node.body) for node in nodes if isinstance(node, ast.Lambda)]
        nodes = [
            node for node, body in bodies if (body.lineno, body.col_offset, body.end_lineno, body.end_col_offset) in spans
        ] or nodes  # fmt: skip
    return "\n".join(ast.dump(node, annotate_fields=False) for node in nodes)


def _matches(node: _Function, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return code.co_name == node.name and first == code.co_firstlineno


def syntax_tree(filename: str) -> ast.Module | None:
    """Return the syntax tree of a file or of a notebook's cell, without docstrings and annotations; None without a source."""
    linecache.checkcache(filename)
    return _parsed("".join(linecache.getlines(filename)))


@lru_cache(maxsize=64)
def _parsed(source: str) -> ast.Module | None:
    try:
        tree = ast.parse(source) if source else None
    except (SyntaxError, ValueError, RecursionError):
        return None
    for node in ast.walk(tree) if tree else ():
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return tree


def assignments(filename: str, name: str) -> list[ast.stmt]:
    """Return the statements of a file, outside of functions and classes, that give `name` a value."""
    tree = syntax_tree(filename)
    return [statement for statement in _statements(tree.body) if name in _targets(statement)] if tree else []


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            yield statement
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _statements([node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt)])


def _targets(statement: ast.stmt) -> set[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def names_of(code: CodeType) -> set[str]:
    """Return the names of globals and attributes that a function and those inside it use."""
    return set(code.co_names).union(*(names_of(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def bytecode(code: CodeType) -> str:
    """Return the instructions of a function with their arguments, without places in the source."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("NOP", "EXTENDED_ARG")]
    return "\n".join([repr(code.co_varnames[: code.co_argcount]), *(f"{step.opname} {plain_text(step.argval)}" for step in steps)])


def plain_text(value: Any) -> str:
    """Return the text of a constant, the same in every process: a set is sorted, and code has no address."""
    if isinstance(value, CodeType):
        return bytecode(value)
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(plain_text, value)))}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(plain_text, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{plain_text(key)}: {plain_text(inner)}' for key, inner in value.items()))}}}"
    return repr(value) if isinstance(value, bool | int | float | complex | str | bytes | type(None)) else type(value).__qualname__
