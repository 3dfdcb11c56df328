"""Mutations of source text: small changes of the kind that a slip makes, found by the syntax tree."""

from __future__ import annotations

import ast
from collections import Counter
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
    old: str
    """The whole line or lines as they are: with `new` the mutation's name, which outlives a shift of the lines above."""
    new: str
    reach: range
    """The lines whose execution makes a difference."""
    statement: int
    """The line on which the statement begins."""
    in_body: bool
    """Whether it stands in the body of a function, and is executed when that is called."""
    nth: int = 0
    """How many mutations of the same name come before this one in the file."""

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

    def whole_lines(start: int, piece: str, end: int) -> str:
        """Return the lines that hold a piece, with another in its place."""
        stop = source.find(b"\n", end)
        whole = (
            source[source.rfind(b"\n", 0, start) + 1 : start].decode()
            + piece
            + source[end : len(source) if stop < 0 else stop].decode()
        )
        return " ".join(whole.split())

    tree = ast.parse(source)
    changes = []
    for node in _mutable(tree):
        for new in _replacements(node, text):
            start, end = at(node)
            old = source[start:end].decode()
            lines = whole_lines(start, old, end), whole_lines(start, new, end)
            changes.append(Mutation(path, start, end, node.lineno, old, new, *lines, *_reach(tree, node, source.count(b"\n") + 1)))
    names: Counter[tuple[str, str]] = Counter()
    numbered = []
    for change in sorted(set(changes), key=lambda change: (change.start, change.after)):
        numbered.append(change._replace(nth=names[change.old, change.new]))
        names[change.old, change.new] += 1
    return numbered


def _reach(tree: ast.Module, node: ast.expr | ast.stmt, last: int) -> tuple[range, int, bool]:
    """Return a mutation's `reach`, `statement` and `in_body`.

    What stands in the head of a function is executed when its file is imported, and matters in its body; likewise a class.
    """
    line, reach, statement, in_body = node.lineno, range(1, last + 1), node.lineno, False
    for around in ast.walk(tree):  # outer ones come first
        if not isinstance(around, ast.stmt) or not around.lineno <= line <= (around.end_lineno or 0):
            continue
        statement = around.lineno
        if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef):
            body = range(around.body[0].lineno, (around.end_lineno or 0) + 1)
            reach = range(line, (node.end_lineno or line) + 1) if line in body else body
            in_body = in_body or line in body
        elif isinstance(around, ast.ClassDef):
            reach = range(around.lineno, (around.end_lineno or 0) + 1)
    return reach, statement, in_body


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
