"""Signatures read from source text, so that nobody waits for torch to be imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from accel.schema import value_kinds
from accel.schema.class_lineage import base_part
from accel.schema.signature import COMPUTED, REQUIRED, Setting, Signature
from accel.schema.source_text import Definition
from accel.system.machine import Need

__all__ = ["signature_of_text"]


def signature_of_text(target: str, chain: list[Definition]) -> Signature:
    """Return the signature of a class.

    Args:
        target: its dotted name.
        chain: its definition and its bases', nearest first (`class_lineage.lineage`).
    """
    definition = chain[0]
    assert isinstance(definition.node, ast.ClassDef)
    settings: dict[str, Setting] = {}
    takes_more, needs, wants = True, tuple[Need, ...](), tuple[Need, ...]()
    for cls in reversed([cls for cls in chain if not base_part(cls)]):
        assert isinstance(cls.node, ast.ClassDef)
        init = next((node for node in cls.node.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None)
        if init is not None:
            takes_more = init.args.kwarg is not None
            settings = {**(settings if takes_more else {}), **{item.name: item for item in _arguments(init, cls)}}
        elif any("dataclass" in ast.unparse(decorator) for decorator in cls.node.decorator_list):
            takes_more = False
            settings |= {item.name: item for item in _fields(cls)}
        needs, wants = _needs(cls, "needs") or needs, _needs(cls, "wants") or wants
    if base_part(definition):  # the plainest implementation itself is no plugin
        return Signature(target, "", definition.source.doc)
    part = next((base_part(cls) for cls in chain if base_part(cls)), "")
    class_doc = ast.get_docstring(definition.node) or ""
    doc = definition.source.doc if definition.source.doc and part != "Trainer" else class_doc
    descriptions = _about(class_doc)
    settings = {name: Setting(name, item.kind, item.default, descriptions.get(name, item.about)) for name, item in settings.items()}
    return Signature(target, part, doc, settings, needs, wants, takes_more)


def _fields(cls: Definition) -> Iterator[Setting]:
    """Yield the settings of a dataclass: its fields."""
    assert isinstance(cls.node, ast.ClassDef)
    descriptions = _about(ast.get_docstring(cls.node) or "")
    for node in cls.node.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and "ClassVar" not in ast.unparse(node.annotation):
            name, default = node.target.id, REQUIRED
            if isinstance(node.value, ast.Call):  # dataclasses.field(...)
                keywords = {keyword.arg: keyword.value for keyword in node.value.keywords}
                if "init" in keywords:
                    continue
                missing = COMPUTED if "default_factory" in keywords else REQUIRED
                default = _default(keywords["default"]) if "default" in keywords else missing
            elif node.value is not None:
                default = _default(node.value)
            if name != "_":
                kind = value_kinds.kind_of_annotation(node.annotation, cls.source)
                yield Setting(name, kind, default, descriptions.get(name, ""))


def _arguments(init: ast.FunctionDef, cls: Definition) -> Iterator[Setting]:
    """Yield the settings of another class: the arguments of its `__init__`."""
    args = [*init.args.posonlyargs, *init.args.args][1:]
    blank: list[ast.expr | None] = [None] * (len(args) - len(init.args.defaults))
    pairs = [*zip(args, [*blank, *init.args.defaults], strict=True), *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)]
    for arg, default in pairs:
        kind = value_kinds.kind_of_annotation(arg.annotation, cls.source) if arg.annotation else Any
        yield Setting(arg.arg, kind, REQUIRED if default is None else _default(default))


def _default(node: ast.expr) -> Any:
    """Return the value of a default, or `COMPUTED` if it is no literal."""
    try:
        return value_kinds.literal_value(node)
    except ValueError:
        return COMPUTED


def _needs(cls: Definition, name: str) -> tuple[Need, ...]:
    """Return the needs that a class body assigns to `name`; empty if it assigns none."""
    assert isinstance(cls.node, ast.ClassDef)
    for node in cls.node.body:
        if not isinstance(node, ast.AnnAssign | ast.Assign) or not isinstance(node.value, ast.Tuple | ast.List):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and target.id == name:
            calls = [value_kinds.literal_arguments(item) for item in node.value.elts if isinstance(item, ast.Call)]
            return tuple(Need(*args, **keywords) for args, keywords in calls)
    return ()


def _about(doc: str) -> dict[str, str]:
    """Return the descriptions in the `Args:` of a docstring, by name."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    if section is None:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}
