"""Arguments of a call, checked by their names: one that is misspelt is a sentence with the right one, as a setting is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Any, ParamSpec, TypeVar

from accel.errors import ConfigError, describe, listed, nearest

__all__ = [
    "SHOWN",
    "check_arguments",
    "signature_of_method",
    "with_checked_arguments",
    "with_checked_method_arguments",
]

P = ParamSpec("P")
R = TypeVar("R")
SHOWN = 8
"""Names of arguments that are listed where none is near to the one that was typed."""


def with_checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function, which raises ConfigError for arguments that it does not take."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_arguments(function.__name__, signature(function), args, kwargs)
        return function(*args, **kwargs)

    return checked


def with_checked_method_arguments(method: Callable[P, R]) -> Callable[P, R]:
    """Return a method, which raises ConfigError for arguments that it does not take, or for those of a constructor of a subclass.

    A constructor is called by those of subclasses with what they do not take: what they do take is suggested too.
    """

    @wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        cls = type(args[0])
        name, more = f"{cls.__name__}.{method.__name__}", set[str]()
        if method.__name__ == "__init__":
            name = cls.__name__
            inits = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base) and base is not object]
            more = {parameter for init in inits for parameter in _named(signature_of_method(init))}
        check_arguments(name, signature_of_method(method), args[1:], kwargs, more)
        return method(*args, **kwargs)

    return checked


def signature_of_method(method: Callable[..., Any]) -> Signature:
    """Return the signature of a method without `self`."""
    known = signature(method)
    return known.replace(parameters=list(known.parameters.values())[1:])


def check_arguments(
    name: str, known: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], more: Iterable[str] = ()
) -> None:  # fmt: skip
    """Check arguments against the signature of what is called with them.

    Args:
        name: of what is called, as the user writes it.
        known: its signature, without `self`.
        args: arguments by place.
        kwargs: arguments by name.
        more: further names that may have been meant, which somebody else takes.

    Raises:
        ConfigError: for a name that is none, too many arguments by place, one given twice, one that is missing, and one that is no
            function where a function belongs.
    """
    try:
        bound = known.bind(*args, **kwargs).arguments
    except TypeError:
        raise ConfigError(_sentence(name, known, args, kwargs, more)) from None
    for one, value in bound.items():
        if str(known.parameters[one].annotation).startswith("Callable[") and value is not None and not callable(value):
            raise ConfigError(f"{one} of {name} is {describe(value)}; give a function")


def _named(known: Signature) -> dict[str, Parameter]:
    """Return the parameters that have a name of their own."""
    return {
        name: one for name, one in known.parameters.items() if one.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    }


def _sentence(
    name: str, known: Signature, args: Sequence[Any], kwargs: Mapping[str, Any], more: Iterable[str]
) -> str:  # fmt: skip
    """Return why a call cannot be, and what to write."""
    names = _named(known)
    places = [one for one, parameter in names.items() if parameter.kind is not Parameter.KEYWORD_ONLY]
    owner, _, method = name.rpartition(".")
    if not names and owner:
        return f"{method}() takes no arguments; give them to {owner}(...)"
    if wrong := [one for one in kwargs if one not in names]:
        hint = nearest(wrong[0], {*names, *more}) or (f"; it takes {listed(names, SHOWN)}" if names else "; it takes none")
        return f"{wrong[0]} is no argument of {name}{hint}"
    if len(args) > len(places):
        rest = [one for one in names if one not in places]
        fix = f"write the others by name, such as {rest[0]}=..." if rest else f"it takes {listed(names, SHOWN) or 'none'}"
        return f"{name} takes {len(places)} arguments by place, and {len(args)} were given; {fix}"
    if twice := [one for one in places[: len(args)] if one in kwargs]:
        return f"{name} is given {twice[0]} twice, by place and by name; keep one"
    required = [one for one, parameter in names.items() if parameter.default is Parameter.empty]
    missing = [one for one in required if one not in {*kwargs, *places[: len(args)]}]
    return f"{name} needs {' and '.join(missing)}: {name}({', '.join(f'{one}=...' for one in missing)})"
