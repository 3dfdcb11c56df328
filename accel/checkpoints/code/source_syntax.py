"""Text of a function that comments, docstrings, annotations and formatting do not change: its syntax tree, or else its bytecode."""

from __future__ import annotations

import ast
import dis
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any

__all__ = ["assignments", "bytecode", "function_text", "names_of", "node_text", "plain_text"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def function_text(code: CodeType) -> str:
    """Return the text of a function: the dump of its syntax tree; its instructions and constants if it has no source."""
    return _syntax(code) or bytecode(code)


def _syntax(code: CodeType) -> str:
    nodes = _functions(_source(code.co_filename)).get((code.co_name, code.co_firstlineno), [])
    if len(nodes) > 1:  # several lambdas in a line
        spans = {(line, column, end, end_column) for line, end, column, end_column in code.co_positions()}
        bodies = [(node, node.body) for node in nodes if isinstance(node, ast.Lambda)]
        nodes = [
            node for node, body in bodies if (body.lineno, body.col_offset, body.end_lineno, body.end_col_offset) in spans
        ] or nodes  # fmt: skip
    return "\n".join(node_text(node) for node in nodes)


@lru_cache(maxsize=1024)
def node_text(node: ast.AST) -> str:
    """Return the dump of a part of a syntax tree."""
    return ast.dump(node, annotate_fields=False)


def _source(filename: str) -> str:
    """Return the text of a file or of a notebook's cell, as it is now; an empty text without a source."""
    linecache.checkcache(filename)
    return "".join(linecache.getlines(filename))


@lru_cache(maxsize=64)  # of these three: once for a text, however many runs and functions ask
def _syntax_tree(source: str) -> ast.Module | None:
    """Return the syntax tree of a text, without docstrings and annotations; None if it is empty or not Python."""
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


@lru_cache(maxsize=64)
def _functions(source: str) -> dict[tuple[str, int], list[_Function]]:
    """Return the functions of a text, by the name and the first line that their code has."""
    functions: dict[tuple[str, int], list[_Function]] = {}
    tree = _syntax_tree(source)
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Lambda):
            functions.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            functions.setdefault((node.name, line), []).append(node)
    return functions


@lru_cache(maxsize=64)
def _assignments(source: str) -> dict[str, list[ast.stmt]]:
    statements: dict[str, list[ast.stmt]] = {}
    tree = _syntax_tree(source)
    for statement in _statements(tree.body) if tree else ():
        for name in _targets(statement):
            statements.setdefault(name, []).append(statement)
    return statements


def assignments(filename: str, name: str) -> list[ast.stmt]:
    """Return the statements of a file, outside of functions and classes, that give `name` a value."""
    return _assignments(_source(filename)).get(name, [])


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
