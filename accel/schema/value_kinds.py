"""Kinds and values that annotations and defaults in source text stand for."""

from __future__ import annotations

import ast
import operator
from typing import Annotated, Any, Literal, Union

from accel.schema import source_text
from accel.schema.source_text import SourceText
from accel.values import NAMES, Bounds

__all__ = ["OPERATORS", "kind_of_annotation", "literal_arguments", "literal_value"]

OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv, ast.LShift: operator.lshift,
}  # fmt: skip


def kind_of_annotation(node: ast.AST | None, where: SourceText, depth: int = 8) -> Any:
    """Return the kind that an annotation names, in terms of `accel.values`; `Any` for any other annotation.

    Args:
        node: the annotation; None has no kind.
        where: the text that it stands in.
        depth: the most names to follow.
    """
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str() as text):
            try:
                return kind_of_annotation(ast.parse(text, mode="eval").body, where, depth)
            except SyntaxError:
                return Any
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in NAMES:
            return NAMES[name]
        case ast.Name(id=name) if depth:
            definition = source_text.find(where.module, name)
            return (
                Any
                if definition is None or isinstance(definition.node, ast.ClassDef)
                else kind_of_annotation(definition.node, definition.source, depth - 1)
            )
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([kind_of_annotation(left, where, depth), kind_of_annotation(right, where, depth)])
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _subscript(name, inner, where, depth)
    return Any


def _subscript(name: str, inner: ast.expr, where: SourceText, depth: int) -> Any:
    """Return the kind of `name[inner]`, such as `Literal["a", "b"]`."""
    items = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    match name:
        case "Literal":
            words = tuple(item.value for item in items if isinstance(item, ast.Constant))
            return Literal[words] if len(words) == len(items) else Any
        case "Optional":
            return _union([kind_of_annotation(inner, where, depth), type(None)])
        case "Union":
            return _union([kind_of_annotation(item, where, depth) for item in items])
        case "Annotated":
            base, bounds = kind_of_annotation(items[0], where, depth), items[1]
            if isinstance(bounds, ast.Call) and ast.unparse(bounds.func).endswith("Bounds"):
                return Annotated[base, Bounds(*literal_arguments(bounds)[0], **literal_arguments(bounds)[1])]
            return base
        case "list":
            return list[kind_of_annotation(inner, where, depth)]  # type: ignore[misc]
        case "dict":
            return dict[tuple(kind_of_annotation(item, where, depth) for item in items)]  # type: ignore[misc]
    return Any


def _union(kinds: list[Any]) -> Any:
    return Any if Any in kinds else Union[tuple(kinds)]  # noqa: UP007


def literal_arguments(node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments of a call of literals. Raise ValueError for any other call."""
    return [literal_value(arg) for arg in node.args], {word.arg: literal_value(word.value) for word in node.keywords if word.arg}


def literal_value(node: ast.AST) -> Any:
    """Return the value of a literal, or of arithmetic on literals (`2**16`). Raise ValueError for anything else."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        left, right = literal_value(node.left), literal_value(node.right)
        if all(isinstance(side, int | float) and abs(side) < 2**64 for side in (left, right)) and (
            abs(right) <= 64 or not isinstance(node.op, ast.Pow | ast.LShift)
        ):
            return OPERATORS[type(node.op)](left, right)
    return ast.literal_eval(node)
