"""Classes and functions of other packages, by their dotted names, and the arguments that they take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from accel.errors import ConfigError, describe, nearest
from accel.system.call_stack import is_user_class, is_user_function

__all__ = ["accepted_names", "check_arguments", "dotted_name", "first_line", "is_users", "resolve"]


def resolve(setting: str, target: Any, example: str) -> Callable[..., Any]:
    """Return a class or function, imported if it is given by its dotted name.

    Args:
        setting: what it was given as, such as `optimizer.target`, for the messages.
        target: a dotted name, a class or a function.
        example: a dotted name that could have been meant.

    Raises:
        ConfigError: for anything else; for a module or a name that is not there, with the nearest one.
    """
    if isinstance(target, str):
        target = _import(setting, target, example)
    if not callable(target) or isinstance(target, ModuleType):
        raise ConfigError(f"{setting} must be the dotted name of a class or a function, such as {example}, not {describe(target)}")
    called: Callable[..., Any] = target
    return called


def _import(setting: str, name: str, example: str) -> Any:
    """Return what a dotted name stands for. Raise ConfigError if there is no such thing."""
    parts = name.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        package = example.rpartition(".")[0]
        same = hasattr(import_module(package), name)
        hint = f"; did you mean {package}.{name}?" if same else nearest(name, _names_in(import_module(package)))
        raise ConfigError(f"{setting} must be a dotted name, such as {example}, not {name!r}{hint}")
    owner = _module(setting, name, parts[0])
    for count, part in enumerate(parts[1:], 1):
        if hasattr(owner, part):
            owner = getattr(owner, part)
            continue
        path = ".".join(parts[:count])
        inner = _module(setting, name, f"{path}.{part}", within=True) if hasattr(owner, "__path__") else None
        if inner is None:
            raise ConfigError(f"{setting}={name}: {path} has no {part!r}{nearest(part, _names_in(owner, count + 1 == len(parts)))}")
        owner = inner
    return owner


def _module(setting: str, name: str, path: str, within: bool = False) -> Any:
    """Import a module.

    Args:
        setting: for the messages.
        name: the whole name, for the messages.
        path: the dotted name of the module.
        within: return None if there is no such module, whose package is there.

    Raises:
        ConfigError: if it is not there, or its own import fails.
    """
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name == path and within:
            return None
        if error.name == path:
            package = path.replace("_", "-")
            raise ConfigError(
                f"{setting}={name}: there is no module {path!r}; install its package (pip install {package}), or mend the name"
            ) from None
        raise ConfigError(f"{setting}={name}: {path} needs the module {error.name!r}, which is not installed") from error
    except Exception as error:
        raise ConfigError(f"{setting}={name}: {path} cannot be imported: {first_line(error)}") from error


def _names_in(owner: Any, last: bool = True) -> list[str]:
    """Return the public names of a module or a class; where the name goes on, the modules of a package too."""
    modules = {module.name for module in iter_modules(owner.__path__)} if hasattr(owner, "__path__") else set()
    names = set(dir(owner)) - modules if last else {*dir(owner), *modules}
    return [name for name in names if not name.startswith("_")]


def dotted_name(target: Any) -> str:
    """Return the dotted name under which a class or function was defined; of any other object that of its class."""
    target = target.func if isinstance(target, partial) else target
    named = target if hasattr(target, "__qualname__") else type(target)
    return f"{named.__module__}.{named.__qualname__}"


def is_users(target: Any) -> bool:
    """Return whether a class or function is the user's own code, and no installed package's. A `partial` has values of theirs."""
    if isinstance(target, partial):
        return True
    if isinstance(target, type):
        return is_user_class(target)
    return is_user_function(target) if inspect.isfunction(target) else is_user_class(type(target))


def accepted_names(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the arguments by name that a callable takes behind its first one, and whether it takes any other as well.

    What cannot be looked at takes any.
    """
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return {}, True
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    first = bool(parameters) and parameters[0].kind in (parameters[0].POSITIONAL_ONLY, parameters[0].POSITIONAL_OR_KEYWORD)
    names = {one.name: one for one in named if not (first and one is parameters[0])}
    return names, any(one.kind is one.VAR_KEYWORD for one in parameters)


def check_arguments(setting: str, title: str, target: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Check that a callable takes arguments by these names, and needs no others behind its first one.

    Args:
        setting: what they were given as, such as `optimizer.args`.
        title: the name of the callable, for the messages.
        target: the callable.
        given: the arguments.

    Raises:
        ConfigError: for a name that it does not take, with the nearest one, and for one that is missing.
    """
    names, open_ended = accepted_names(target)
    for name in given:
        if not isinstance(name, str):
            raise ConfigError(f"{setting}: {title} takes its arguments by name, and {name!r} is none; write {{NAME: VALUE}}")
        close = nearest(name, names)
        if name not in names and (close or not open_ended):
            raise ConfigError(f"{setting}: {title} takes no {name}{close or '; it takes ' + (', '.join(names) or 'none')}")
    lacking = [name for name, one in names.items() if one.default is one.empty and name not in given]
    if lacking:
        raise ConfigError(f"{setting}: {title} needs {lacking[0]}; add it, as in {setting}={{{lacking[0]}:VALUE}}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its kind if it has none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
