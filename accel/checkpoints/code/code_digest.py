"""Digest of the code that a user gave: functions, classes and objects, with whatever code of the user they call."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from accel.checkpoints.code.source_syntax import assignments, function_text, names_of, node_text, plain_text
from accel.checkpoints.weights.weight_names import plain_path, wrapped_attribute
from accel.system.call_stack import is_user_class, is_user_file, is_user_function

__all__ = ["CodeText", "RankCode", "code_digests", "digest_of"]

LONGEST = 64
"""Items of a list that are looked at: a longer one is data."""
_FUNCTIONS = (FunctionType, MethodType, partial)
_PLAIN = bool | int | float | complex | str | bytes | None


def code_digests(code: Mapping[str, Iterable[Any]], of_ranks: bool = False) -> dict[str, str]:
    """Return a digest of each entry's objects, 16 hexadecimal digits; entries with nothing but accel's own are left out.

    Args:
        code: objects by what they are for.
        of_ranks: leave out what code may keep of its own rank, as `RankCode` does.
    """
    return {name: digest for name, objects in code.items() if (digest := digest_of(objects, of_ranks))}


def digest_of(objects: Iterable[Any], of_ranks: bool = False) -> str:
    """Return one digest of several objects, the same in every process of one Python; an empty text if all of it is accel's own."""
    text = RankCode() if of_ranks else CodeText()
    try:
        for value in objects:
            text.add(value)
    except RecursionError:  # an expression that is nested too deeply, or objects that are
        return ""
    return hashlib.sha256("\n".join(text.lines).encode(errors="surrogatepass")).hexdigest()[:16] if text.is_users else ""


class CodeText:
    """Text of code, put together from functions, classes and objects and from what they refer to, each once.

    Code of accel and of installed packages is only named. Of objects the classes count, the functions and objects that they
    hold, and the numbers of those that libraries make to be called, such as a transform. Numbers, texts and tensors in the
    user's own objects are values, not code.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.seen: dict[int, Any] = {}  # it keeps them alive, so that no id is used twice
        self.places: set[tuple[Any, ...]] = set()
        self.is_users = False
        """Whether anything of it is neither accel's own nor of Python itself."""

    def add(self, value: Any) -> None:
        """Add whatever it is."""
        if id(value) in self.seen:
            return
        self.seen[id(value)] = value
        if isinstance(value, MethodType):
            self._function(cast(FunctionType, value.__func__), type(value.__self__))
            self._object(value.__self__) if is_user_class(type(value.__self__)) and not _is_task(value) else None
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, partial):
            for inner in (value.func, *value.args, *(value.keywords[name] for name in sorted(value.keywords))):
                self._value(inner)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, BuiltinFunctionType):
            self._named(value)
        elif not isinstance(value, Tensor):
            self._object(value)

    def _named(self, value: Callable[..., Any] | type, prefix: str = "") -> None:
        """Add the name of a function or class. Those of the user have no module: a script and an import call it differently."""
        module, name = getattr(value, "__module__", None) or "builtins", getattr(value, "__qualname__", type(value).__qualname__)
        if isinstance(value, FunctionType):  # a wrapper has the name of what it wraps
            module, name = value.__globals__.get("__name__", module), value.__code__.co_qualname
        of_user = isinstance(value, type) and is_user_class(value)
        self.is_users = self.is_users or module.partition(".")[0] not in ("accel", "builtins")
        self.lines.append(f"{prefix}{name}" if of_user else f"{prefix}{module}.{name}")

    def _value(self, value: Any) -> None:
        """Add a value that a function keeps: code as `add` does, a plain value by itself, anything else not at all."""
        if isinstance(value, _PLAIN):
            self.lines.append(plain_text(value))
        elif isinstance(value, tuple | frozenset):
            self.lines.append(plain_text(value))
            self._held([value] if isinstance(value, tuple) else [])
        elif isinstance(value, list | dict):  # what may be filled in a run is no code, apart from functions in it
            self._held([value])
        elif _is_code(value):
            self.add(value)

    def _function(self, function: FunctionType, owner: type | None = None) -> None:
        code = function.__code__
        if not is_user_function(function):
            self._named(function)
            if (inner := getattr(function, "__wrapped__", None)) is not None:  # a decorator of a library
                self.add(inner)
            return
        self.is_users = True
        self.lines.append(function_text(code))
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._value(value)
        for cell in function.__closure__ or ():
            try:
                self._value(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        names = names_of(code)
        for name in sorted(names):
            self._global(name, function.__globals__, code.co_filename, names)
            for kind in () if owner is None else owner.__mro__:
                if name in vars(kind) and is_user_class(kind):
                    self._member(vars(kind)[name], owner)

    def _global(self, name: str, values: dict[str, Any], filename: str, names: set[str]) -> None:
        if name not in values:
            return
        value = values[name]
        is_module = isinstance(value, ModuleType)
        place = (id(values), name, frozenset(names) if is_module else None)  # of a module other names may count next time
        if place in self.places:
            return
        self.places.add(place)
        if is_module:
            if (file := getattr(value, "__file__", None)) and is_user_file(file):
                for inner in sorted(names & vars(value).keys() - {name}):
                    self._global(inner, vars(value), file, names)
            return
        statements = [] if isinstance(value, FunctionType | type) else assignments(filename, name)
        self.lines += [node_text(statement) for statement in statements]
        for used in sorted({node.id for one in statements for node in ast.walk(one) if isinstance(node, ast.Name)} - {name}):
            self._global(used, values, filename, set())
        if not statements or _is_code(value):
            self._value(value)

    def _class(self, kind: type) -> None:
        for one in kind.__mro__:
            if not is_user_class(one):
                self._named(one)
                continue
            self.is_users = True
            self.lines.append(one.__qualname__)
            for name, member in sorted(vars(one).items()):
                self._member(member, None, plain=not name.startswith("__"))

    def _member(self, member: Any, owner: type | None, plain: bool = True) -> None:
        """Add a member of a class: a method of any kind, or a plain value."""
        if isinstance(member, staticmethod | classmethod):
            member = member.__func__
        functions = (member.fget, member.fset) if isinstance(member, property) else (getattr(member, "func", member),)
        for function in functions:
            if isinstance(function, FunctionType) and id(function) not in self.seen:
                self.seen[id(function)] = function
                self._function(function, owner)
            elif plain and not isinstance(function, FunctionType | type):
                self._value(function)

    def _module(self, module: nn.Module) -> None:
        for name, inner in module.named_modules():
            kind = type(inner)
            if wrapped_attribute(inner):  # compiled or not, it is the same model
                continue
            name = plain_path(module, name)
            self._named(kind, f"{name}: ")
            if is_user_class(kind):
                self.add(kind)
            else:
                self.lines += [f"{key}={plain_text(value)}" for key, value in sorted(vars(inner).items()) if _is_number(key, value)]
                self._held(
                    value for _, value in sorted(vars(inner).items()) if isinstance(value, FunctionType | partial | MethodType)
                )

    def _object(self, value: Any) -> None:
        kind, of_user = type(value), is_user_class(type(value))
        self._named(kind)
        if of_user:
            self.add(kind)
        attributes = [(key, inner) for key, inner in sorted(getattr(value, "__dict__", {}).items()) if of_user or key[:1] != "_"]
        if not of_user and callable(value):
            self.lines += [f"{key}={plain_text(inner)}" for key, inner in attributes if _is_number(key, inner)]
        self._held(inner for _, inner in attributes)

    def _held(self, values: Iterable[Any]) -> None:
        for value in values:
            items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            for item in items if len(items) <= LONGEST else ():
                if _is_code(item):
                    self.add(item)


class RankCode(CodeText):
    """Text of code that is to be the same on every rank: without whole numbers and texts that functions keep.

    They may be the number of the rank, its device or its log file.
    """

    def _value(self, value: Any) -> None:
        if not isinstance(value, int | str | bytes | None):
            super()._value(value)


def _is_code(value: Any) -> bool:
    """Return whether a value holds code: it can be called, or reads data, or is of a class of the user."""
    return callable(value) or isinstance(value, Dataset | DataLoader | Sampler) or is_user_class(type(value))


def _is_task(method: MethodType) -> bool:
    return hasattr(method.__self__, "made_with")


def _is_number(name: str, value: Any) -> bool:
    numbers = value if isinstance(value, list | tuple) and len(value) <= LONGEST else (value,)
    return name[:1] != "_" and name != "training" and all(isinstance(one, bool | int | float | str | None) for one in numbers)
