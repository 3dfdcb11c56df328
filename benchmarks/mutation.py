"""Mutations of source text: small changes of the kind that a slip makes, found by the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Mutation", "mutations"]

COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is",
    ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "//", ast.Pow: "*", ast.LShift: ">>",
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "add_": "sub_", "sub_": "add_", "mul_": "div_", "div_": "mul_"}
SILENT = ("ConfigError", "TrainingError", "warn_user")
"""Calls whose arguments are texts for people."""


class Mutation(NamedTuple):
    """A piece of a file, and what takes its place."""

    path: Path
    start: int
    """Offset of the piece in the file's bytes."""
    end: int
    line: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """The mutation in words that outlive a shift of the lines above."""
        return f"{self.before} -> {self.after}"

    def apply(self, source: bytes) -> bytes:
        """Return the file with the change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutations(path: Path) -> list[Mutation]:
    """Return every mutation of a file."""
    source = path.read_bytes()
    starts = [0]
    for row in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(row))

    def at(node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def text(node: ast.expr) -> str:
        start, end = at(node)
        return source[start:end].decode()

    changes = []
    for node in _mutable(ast.parse(source)):
        for new in _replacements(node, text):
            start, end = at(node)
            changes.append(Mutation(path, start, end, node.lineno, source[start:end].decode(), new))
    return sorted(set(changes), key=lambda change: (change.start, change.after))


def _mutable(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Yield the nodes that decide what is computed: no annotations, no texts for people, no constants of a module."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or _is_silent(node):
                continue
            if isinstance(node, ast.expr | ast.stmt):
                yield node
            yield from _mutable(node)


def _is_silent(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in SILENT
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert)


def _replacements(node: ast.expr | ast.stmt, text) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """Yield what may stand in a node's place."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield f"({text(node.left)} {COMPARISONS[type(operator)]} {text(node.comparators[0])})"
        case ast.BinOp() if type(node.op) in ARITHMETIC and not _is_text(node.left):
            yield f"({text(node.left)} {ARITHMETIC[type(node.op)]} {text(node.right)})"
        case ast.BoolOp():
            word = " or " if isinstance(node.op, ast.And) else " and "
            yield f"({word.join(f'({text(value)})' for value in node.values)})"
        case ast.UnaryOp(op=ast.Not()):
            yield f"bool({text(node.operand)})"
        case ast.UnaryOp(op=ast.USub()):
            yield f"(+{text(node.operand)})"
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int() | float()):
            yield repr(node.value + 1)
        case ast.IfExp():
            yield f"({text(node.orelse)} if {text(node.test)} else {text(node.body)})"
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            yield NAMES[name] + text(node).removeprefix(name)
        case ast.Expr(value=ast.Call()):
            yield "pass"
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield "return None"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
