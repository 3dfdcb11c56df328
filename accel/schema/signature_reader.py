"""Signatures by the dotted name of a class: from its source text if that tells, else from the class itself."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from typing import Any

from accel.errors import ConfigError, nearest
from accel.schema import source_text
from accel.schema.class_lineage import is_base_part, lineage
from accel.schema.signature import COMPUTED, REQUIRED, Setting, Signature
from accel.schema.text_signature import signature_of_text
from accel.values import kinds_of

__all__ = ["load_class", "read_signature"]


def read_signature(target: str) -> Signature:
    """Return the signature of the class that `target` names.

    Its module is imported only if the text does not tell (a class made at run time) and mentions accel at all.

    Args:
        target: a dotted name, such as `mine.MyTrainer`.

    Raises:
        ConfigError: if there is no such module or class.
    """
    module, _, name = target.rpartition(".")
    if not all(part.isidentifier() for part in target.split(".")) or not module:
        raise ConfigError(f"{target!r} is not the dotted name of a class, such as mine.MyTrainer")
    definition = source_text.find(module, name)
    if definition is not None and isinstance(definition.node, ast.ClassDef):
        chain, complete = lineage(definition)
        if complete:
            return signature_of_text(target, chain)
    if module != "__main__" and not _dynamic(module, name):
        return Signature(target, "", "")
    return _from_class(target)


def _dynamic(module: str, name: str) -> bool:
    """Return whether `module` may create the class `name` when it runs. Raise ConfigError if there is no such module or class."""
    text = source_text.read(module)
    if text is None:
        if source_text.locate(module) is None:
            raise ConfigError(f"{module}.{name}: there is no module {module!r}{_near(module)}")
        return False
    if name not in text.names and not re.search(r"__getattr__|import \*|globals\(\)|\bexec\(", text.text):
        classes = [key for key, node in text.names.items() if isinstance(node, ast.ClassDef)]
        raise ConfigError(f"{module}.{name}: {text.path.name} has no class {name!r}{nearest(name, classes)}")
    return re.search(r"\baccel\b", text.text) is not None


def _near(module: str) -> str:
    """Return a hint at a file of nearly that name in its folder."""
    package, _, name = module.rpartition(".")
    init_file = source_text.locate(package) if package else None
    folder = init_file.parent if init_file else None
    hint = nearest(name, [path.stem for path in folder.glob("*.py")]) if folder else ""
    return hint or " (it is looked for in the current directory and in what is installed)"


def _from_class(target: str) -> Signature:
    """Return the signature of an imported class, for one that is created at run time."""
    cls = load_class(target)
    bases = [base for base in cls.__mro__ if is_base_part(base.__module__, base.__name__, [one.__name__ for one in base.__bases__])]
    part = bases[0].__name__ if bases and bases[0] is not cls else ""
    settings, accepts_more = _dataclass_settings(cls) if is_dataclass(cls) else _init_settings(cls)
    needs = (getattr(cls, "needs", ()), getattr(cls, "wants", ()))
    return Signature(target, part, inspect.getdoc(cls) or "", settings, *needs, accepts_more)


def _dataclass_settings(cls: type[Any]) -> tuple[dict[str, Setting], bool]:
    """Return the settings of a dataclass, and that it accepts no more."""
    hints, settings = kinds_of(cls), {}
    for field in (field for field in fields(cls) if field.init):
        missing = REQUIRED if field.default_factory is MISSING else COMPUTED
        settings[field.name] = Setting(field.name, hints[field.name], missing if field.default is MISSING else field.default)
    return settings, False


def _init_settings(cls: type[Any]) -> tuple[dict[str, Setting], bool]:
    """Return the arguments of another class's own `__init__`, and whether it accepts more."""
    parameters = inspect.signature(cls.__init__).parameters if "__init__" in vars(cls) else {}
    settings = {}
    for name, parameter in parameters.items():
        if name != "self" and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            settings[name] = Setting(name, Any, REQUIRED if parameter.default is parameter.empty else parameter.default)
    return settings, not parameters or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def load_class(target: str) -> type[Any]:
    """Import and return the class that `target` names. Raise ConfigError if the module has no such class."""
    module, _, name = target.rpartition(".")
    imported = import_module(module)
    cls = getattr(imported, name, None)
    if not isinstance(cls, type):
        classes = [key for key, value in vars(imported).items() if isinstance(value, type)]
        raise ConfigError(f"{target}: {module} has no class {name!r}{nearest(name, classes)}")
    return cls
