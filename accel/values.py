"""The kinds of value that a setting can have, and the one check for them all.

A setting is a typed field of a plugin, or a typed argument of a task: `max_norm: Positive = 1.0`. The annotation is read
twice. From the source text, the command line refuses a wrong value without importing torch. From the class itself, Python code
gets the same sentence.
"""

from __future__ import annotations

import re
import sys
import types
from dataclasses import dataclass
from math import inf, isfinite
from operator import is_
from os import PathLike
from sys import float_info
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from accel.errors import ConfigError, nearest

__all__ = [
    "NAMES",
    "Bounds",
    "Count",
    "Decay",
    "Form",
    "Fraction",
    "Metric",
    "NonNegative",
    "Place",
    "Positive",
    "Share",
    "Whole",
    "check_value",
    "coerce",
    "describe_kind",
    "kinds_of",
    "refusal",
    "to_builtin",
    "to_plain",
]


@dataclass(frozen=True)
class Bounds:
    """A closed or open interval of numbers, with the words that name it.

    Args:
        description: the words, such as `a number above 0`.
        low: the lower end.
        high: the upper end.
        open_low: whether the lower end itself is outside.
        open_high: whether the upper end itself is outside.
    """

    description: str
    low: float = -inf
    high: float = inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Return whether `value` is finite and lies inside."""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and (isinstance(value, int) or isfinite(value))  # an int may be too long for a float


@dataclass(frozen=True)
class Form:
    """A form of text, with the words that name it.

    Args:
        description: the words, such as `a path`.
        pattern: regular expression for the whole text.
    """

    description: str
    pattern: str

    def holds(self, text: str) -> bool:
        """Return whether the text has the form."""
        return re.fullmatch(self.pattern, text) is not None


Count = Annotated[int, Bounds("a whole number from 1", low=1)]
Whole = Annotated[int, Bounds("a whole number from 0", low=0)]
Positive = Annotated[float, Bounds("a number above 0", low=0, open_low=True)]
NonNegative = Annotated[float, Bounds("a number from 0", low=0)]
Fraction = Annotated[float, Bounds("a number from 0 to 1", low=0, high=1)]
Share = Annotated[float, Bounds("a number above 0, to 1", low=0, high=1, open_low=True)]
Decay = Annotated[float, Bounds("a number from 0 to below 1", low=0, high=1, open_high=True)]
Metric = Annotated[str, Form("a metric, such as accuracy, min:NAME or max:NAME", r"(?!(min|max):(\s|$))\S(.*\S)?")]
Place = Annotated[str, Form("a path", r".*\S.*")]

NAMES: dict[str, Any] = {
    "Count": Count, "Whole": Whole, "Positive": Positive, "NonNegative": NonNegative, "Fraction": Fraction, "Decay": Decay,
    "Share": Share, "Metric": Metric, "Place": Place, "Literal": Literal, "Any": Any, "int": int, "float": float, "bool": bool,
    "str": str, "list": list, "dict": dict,
}  # fmt: skip
"""The kinds that an annotation in source text may name. Any other name is taken as `Any`."""


_KINDS: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()


def kinds_of(cls: type) -> dict[str, Any]:
    """Return the annotations of a class and of its bases, by name. They are evaluated once per process, which costs the most."""
    kinds = _KINDS.get(cls)
    if kinds is None:
        kinds = _KINDS[cls] = get_type_hints(cls, include_extras=True)
    return kinds


def describe_kind(kind: Any) -> str:
    """Return the kind in words: `float16 or bfloat16`, `a number above 0, or null`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return str(args[1].description) if isinstance(args[1], Bounds | Form) else describe_kind(args[0])
    if origin is Literal:
        return " or ".join(str(arg) for arg in args)
    if origin in (Union, types.UnionType):
        rest = [describe_kind(arg) for arg in args if arg is not type(None)]
        return ", or ".join([*rest, "null"] if type(None) in args else rest)
    if origin in (list, dict):
        return f"a {origin.__name__}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    return words.get(kind, "anything")


def coerce(value: Any, kind: Any) -> Any:
    """Return `value` as `kind`: an int becomes a float, and a tuple a list, if that is wanted; a scalar of NumPy one of Python.

    Raises:
        ValueError: if the value does not fit; its text is `describe_kind(kind)`.
    """
    value = to_builtin(value)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        value = coerce(value, args[0])
        fits = not isinstance(args[1], Bounds | Form) or args[1].holds(value)
    elif origin is Literal:
        fits = any(value == arg and type(value) is type(arg) for arg in args)
    elif origin in (Union, types.UnionType):
        return _coerce_to_any(value, args, kind)
    elif kind is float:
        fits = type(value) is not bool and (isinstance(value, float) or (isinstance(value, int) and abs(value) <= float_info.max))
        value = float(value) if fits else value
    elif kind in (bool, str, type(None)):
        fits = type(value) is kind
    elif kind is int:
        fits = type(value) is int
    elif origin in (list, dict) or kind in (list, dict):
        value = list(value) if type(value) is tuple and list in (origin, kind) else value
        fits = isinstance(value, origin or kind)
    else:
        fits = True
    if not fits:
        raise ValueError(describe_kind(kind))
    return value


def _coerce_to_any(value: Any, kinds: tuple[Any, ...], union: Any) -> Any:
    """Return `value` as the first of `kinds` that it fits; the error names the whole union."""
    for kind in kinds:
        try:
            return coerce(value, kind)
        except ValueError:
            continue
    raise ValueError(describe_kind(union))


def to_builtin(value: Any) -> Any:
    """Return a scalar of NumPy as the Python value that it stands for, in lists, tuples and dicts too; anything else as it is."""
    numpy = sys.modules.get("numpy")  # who passes one has imported it; the command line does not
    if numpy is None:
        return value
    if isinstance(value, numpy.generic):
        return float(value) if isinstance(value, numpy.floating) else value.item()  # item() of a longdouble is itself
    if type(value) in (list, tuple):
        items = [to_builtin(inner) for inner in value]
        return value if all(map(is_, items, value)) else type(value)(items)
    if type(value) is dict:
        changed = {key: to_builtin(inner) for key, inner in value.items()}
        return value if all(map(is_, changed.values(), value.values())) else changed
    return value


def to_plain(value: Any) -> Any:
    """Return `value` in the form that JSON gives back; functions, classes and other objects become their names."""
    value = to_builtin(value)
    if isinstance(value, dict):
        return {str(key): to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value) if isinstance(value, PathLike) else getattr(value, "__name__", type(value).__name__)


def refusal(name: str, value: Any, kind: Any) -> str:
    """Return the error for a value that does not fit: the kind it must have, the value, and the nearest right word."""
    value = to_builtin(value)
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    words = [str(word) for arg in (kind, *get_args(kind)) if get_origin(arg) is Literal for word in get_args(arg)]
    return f"{name} must be {describe_kind(kind)}, not {shown}" + nearest(str(value), words)


def check_value(name: str, value: Any, kind: Any) -> Any:
    """Return `value` as `kind`.

    Args:
        name: of the setting, for the message.
        value: any value.
        kind: an annotation in the terms of this module.

    Raises:
        ConfigError: if the value does not fit, with the sentence of `refusal`.
    """
    try:
        return coerce(value, kind)
    except ValueError:
        raise ConfigError(refusal(name, value, kind)) from None
