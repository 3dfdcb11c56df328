"""What a plugin or a task takes, provides and needs, read from its source text, so that nobody waits for torch to be imported."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import import_module
from typing import Any, get_type_hints

from accel.errors import ConfigError, nearest
from accel.schema import source_text, value_kinds
from accel.schema.source_text import Definition
from accel.system.machine import Need

PARTS, TRAINER = "accel.parts", "accel.trainer"
REQUIRED: Any = object()
"""Stands for the default of a setting that has none."""
COMPUTED: Any = object()
"""Stands for a default that is made anew each time, or that only running the code would tell."""


@dataclass(frozen=True)
class Setting:
    """One setting: its kind (`accel.values`), its default and what its class says about it."""

    name: str
    kind: Any = Any
    default: Any = REQUIRED
    about: str = ""


@dataclass(frozen=True)
class Signature:
    """What `target`, a class by its dotted name, takes, provides and needs."""

    target: str
    part: str
    """The part it provides, such as `Optim`; `Trainer` for a task; empty for any other class."""
    doc: str
    settings: dict[str, Setting] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    wants: tuple[Need, ...] = ()
    accepts_more: bool = True
    """Whether it takes more keywords and hands them on, as a task does with the settings of the run."""

    @property
    def summary(self) -> str:
        """The first sentence about it, without its name in front."""
        first = " ".join(self.doc.partition("\n\n")[0].split())
        name = self.target.rpartition(".")[2]
        return re.sub(rf"^{re.escape(name)}: ", "", first)


def signature(target: str) -> Signature:
    """Reads the class that `target` names.

    Its module is imported only where the text does not tell (a class made at run time) and speaks of accel at all.

    Raises:
        ConfigError: where there is no such module or class.
    """
    module, _, name = target.rpartition(".")
    if not all(part.isidentifier() for part in target.split(".")) or not module:
        raise ConfigError(f"{target!r} is not the dotted name of a class, such as mine.MyTrainer")
    found = source_text.find(module, name)
    if found is not None and isinstance(found.node, ast.ClassDef):
        chain, complete = lineage(found)
        if complete:
            return _from_text(target, chain)
    if module != "__main__" and not _dynamic(module, name):
        return Signature(target, "", "")
    return _from_class(target)


def _dynamic(module: str, name: str) -> bool:
    """Whether `name` may be a class that `module` makes when it runs. Raises ConfigError where there is no such thing at all."""
    text = source_text.read(module)
    if text is None:
        if source_text.locate(module) is None:
            raise ConfigError(f"{module}.{name}: there is no module {module!r}{_near(module)}")
        return False
    if name not in text.names and not re.search(r"__getattr__|import \*|globals\(\)|\bexec\(", text.text):
        classes = [key for key, node in text.names.items() if isinstance(node, ast.ClassDef)]
        raise ConfigError(f"{module}.{name}: {text.path.name} has no class {name!r}{nearest(name, classes)}")
    return re.search(r"\baccel\b", text.text) is not None


def lineage(found: Definition) -> tuple[list[Definition], bool]:
    """A class and its bases, nearest first, up to a part or the Trainer; and whether text named every base."""
    assert isinstance(found.node, ast.ClassDef)
    chain, complete = [found], True
    if base_part(found):
        return chain, True
    for base in found.node.bases:
        name = ast.unparse(base)
        if name == "object" or name.startswith(("Protocol", "Generic")):
            continue
        ancestor = source_text.find(found.source.module, name)
        if ancestor is None or not isinstance(ancestor.node, ast.ClassDef):
            complete = False
            continue
        further, whole = lineage(ancestor)
        chain += further
        complete &= whole
    return chain, complete or any(base_part(one) for one in chain)


def base_part(definition: Definition) -> str:
    """The part or Trainer that a class is itself, or the empty string."""
    node = definition.node
    bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    return node.name if isinstance(node, ast.ClassDef) and _is_base_part(definition.source.module, node.name, bases) else ""


def _is_base_part(module: str, name: str, bases: list[str]) -> bool:
    """Whether a class is the Trainer, or a part: what stands in `accel.parts` and builds upon a part (`Cycle`) is none."""
    inside = module in (TRAINER, PARTS) or module.startswith(PARTS + ".")
    return inside and (name in ("Trainer", "Part") or "Part" in bases)


def _from_text(target: str, chain: list[Definition]) -> Signature:
    found = chain[0]
    assert isinstance(found.node, ast.ClassDef)
    settings: dict[str, Setting] = {}
    takes_more, needs, wants = True, tuple[Need, ...](), tuple[Need, ...]()
    for one in reversed([one for one in chain if not base_part(one)]):
        assert isinstance(one.node, ast.ClassDef)
        init = next((node for node in one.node.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None)
        if init is not None:
            takes_more = init.args.kwarg is not None
            settings = {**(settings if takes_more else {}), **{item.name: item for item in _arguments(init, one)}}
        elif any("dataclass" in ast.unparse(decorator) for decorator in one.node.decorator_list):
            takes_more = False
            settings |= {item.name: item for item in _fields(one)}
        needs, wants = _needs(one, "needs") or needs, _needs(one, "wants") or wants
    if base_part(found):  # the plainest implementation itself is no plugin
        return Signature(target, "", found.source.doc)
    part = next((base_part(one) for one in chain if base_part(one)), "")
    own = ast.get_docstring(found.node) or ""
    doc = found.source.doc if found.source.doc and part != "Trainer" else own
    words = _about(own)
    settings = {name: Setting(name, item.kind, item.default, words.get(name, item.about)) for name, item in settings.items()}
    return Signature(target, part, doc, settings, needs, wants, takes_more)


def _fields(one: Definition) -> Iterator[Setting]:
    assert isinstance(one.node, ast.ClassDef)
    words = _about(ast.get_docstring(one.node) or "")
    for node in one.node.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and "ClassVar" not in ast.unparse(node.annotation):
            name, default = node.target.id, REQUIRED
            if isinstance(node.value, ast.Call):  # dataclasses.field(...)
                inner = {word.arg: word.value for word in node.value.keywords}
                if "init" in inner:
                    continue
                default = _default(inner["default"]) if "default" in inner else COMPUTED if "default_factory" in inner else REQUIRED
            elif node.value is not None:
                default = _default(node.value)
            if name != "_":
                yield Setting(name, value_kinds.kind_of_annotation(node.annotation, one.source), default, words.get(name, ""))


def _arguments(init: ast.FunctionDef, one: Definition) -> Iterator[Setting]:
    args = [*init.args.posonlyargs, *init.args.args][1:]
    blank: list[ast.expr | None] = [None] * (len(args) - len(init.args.defaults))
    pairs = [*zip(args, [*blank, *init.args.defaults], strict=True), *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True)]
    for arg, default in pairs:
        kind = value_kinds.kind_of_annotation(arg.annotation, one.source) if arg.annotation else Any
        yield Setting(arg.arg, kind, REQUIRED if default is None else _default(default))


def _default(node: ast.expr) -> Any:
    try:
        return value_kinds.literal_value(node)
    except ValueError:
        return COMPUTED


def _needs(one: Definition, name: str) -> tuple[Need, ...]:
    assert isinstance(one.node, ast.ClassDef)
    for node in one.node.body:
        if not isinstance(node, ast.AnnAssign | ast.Assign) or not isinstance(node.value, ast.Tuple | ast.List):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if isinstance(target, ast.Name) and target.id == name:
            calls = [value_kinds.literal_arguments(item) for item in node.value.elts if isinstance(item, ast.Call)]
            return tuple(Need(*args, **words) for args, words in calls)
    return ()


def _about(doc: str) -> dict[str, str]:
    """What the `Args:` of a docstring say, by name."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    if section is None:
        return {}
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section.group(1), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _near(module: str) -> str:
    """A hint at a file of nearly that name in the same folder."""
    package, _, name = module.rpartition(".")
    home = source_text.locate(package) if package else None
    folder = home.parent if home else None
    hint = nearest(name, [path.stem for path in folder.glob("*.py")]) if folder else ""
    return hint or " (it is looked for in the current directory and in what is installed)"


def _from_class(target: str) -> Signature:
    """The same from the class itself, for one that is made at run time."""
    cls = load(target)
    roots = [one for one in cls.__mro__ if _is_base_part(one.__module__, one.__name__, [base.__name__ for base in one.__bases__])]
    part = roots[0].__name__ if roots and roots[0] is not cls else ""
    hints = get_type_hints(cls, include_extras=True) if is_dataclass(cls) else {}
    if is_dataclass(cls):
        given = {
            one.name: Setting(one.name, hints[one.name], one.default if one.default is not MISSING
                              else REQUIRED if one.default_factory is MISSING else COMPUTED)
            for one in fields(cls) if one.init
        }  # fmt: skip
        needs = (getattr(cls, "needs", ()), getattr(cls, "wants", ()))
        return Signature(target, part, inspect.getdoc(cls) or "", given, *needs, False)
    words = inspect.signature(cls.__init__).parameters if "__init__" in vars(cls) else {}
    more = not words or any(word.kind is word.VAR_KEYWORD for word in words.values())
    given = {
        name: Setting(name, Any, REQUIRED if word.default is word.empty else word.default)
        for name, word in words.items() if name != "self" and word.kind not in (word.VAR_KEYWORD, word.VAR_POSITIONAL)
    }  # fmt: skip
    return Signature(target, part, inspect.getdoc(cls) or "", given, getattr(cls, "needs", ()), getattr(cls, "wants", ()), more)


def load(target: str) -> type[Any]:
    """Imports the class that `target` names. Raises ConfigError where the module has no such class."""
    module, _, name = target.rpartition(".")
    home = import_module(module)
    cls = getattr(home, name, None)
    if not isinstance(cls, type):
        classes = [key for key, value in vars(home).items() if isinstance(value, type)]
        raise ConfigError(f"{target}: {module} has no class {name!r}{nearest(name, classes)}")
    return cls
