"""The bases of a class, read from source text, up to the part or the Trainer that it extends."""

from __future__ import annotations

import ast

from accel.schema import source_text
from accel.schema.source_text import Definition

__all__ = ["PARTS", "TRAINER", "base_part", "is_base_part", "lineage"]

PARTS, TRAINER = "accel.parts", "accel.trainer"


def lineage(definition: Definition) -> tuple[list[Definition], bool]:
    """Return a class and its bases, nearest first, up to a part or the Trainer; and whether text named every base."""
    assert isinstance(definition.node, ast.ClassDef)
    chain, complete = [definition], True
    if base_part(definition):
        return chain, True
    for base in definition.node.bases:
        name = ast.unparse(base)
        if name == "object" or name.startswith(("Protocol", "Generic")):
            continue
        ancestor = source_text.find(definition.source.module, name)
        if ancestor is None or not isinstance(ancestor.node, ast.ClassDef):
            complete = False
            continue
        ancestors, ancestors_complete = lineage(ancestor)
        chain += ancestors
        complete &= ancestors_complete
    return chain, complete or any(base_part(member) for member in chain)


def base_part(definition: Definition) -> str:
    """Return the name of the part or Trainer that a class is itself, or the empty string."""
    node = definition.node
    bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    return node.name if isinstance(node, ast.ClassDef) and is_base_part(definition.source.module, node.name, bases) else ""


def is_base_part(module: str, name: str, bases: list[str]) -> bool:
    """Return whether a class is the Trainer or a part. A class of `accel.parts` that extends a part (`Cycle`) is none.

    `Shape` is no part either: its kinds are.

    Args:
        module: the module of the class.
        name: the name of the class.
        bases: the names of its bases.
    """
    in_parts = module in (TRAINER, PARTS) or module.startswith(PARTS + ".")
    return in_parts and (name in ("Trainer", "Part") or "Shape" in bases or ("Part" in bases and name != "Shape"))
