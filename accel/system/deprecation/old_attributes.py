"""Old names of attributes and methods, which go on working and warn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from accel.errors import MovedWarning
from accel.system.deprecation.old_paths import GONE_IN

__all__ = ["deprecation", "moved_attribute", "take_over_overrides"]


def moved_attribute(new: str) -> Any:
    """Return a property that hands on to the attribute or method `new`, with a MovedWarning at the reader's line."""

    def old_name(owner: Any) -> str:
        return next(name for kind in type(owner).__mro__ for name, value in vars(kind).items() if value is moved)

    def read(owner: Any) -> Any:
        warnings.warn(deprecation(type(owner).__name__, old_name(owner), new), MovedWarning, stacklevel=2)
        return getattr(owner, new)

    moved = property(read)
    return moved


def take_over_overrides(cls: type, renamed: dict[str, str]) -> None:
    """Let a subclass that overrides a method by its old name override it by the new one, with a MovedWarning.

    Call it from `__init_subclass__`.

    Args:
        cls: the subclass.
        renamed: old names of methods, each with its new name.
    """
    for old, new in renamed.items():
        method: Callable[..., Any] | None = vars(cls).get(old)
        if method is not None and new not in vars(cls):
            warnings.warn(deprecation(cls.__name__, old, new), MovedWarning, stacklevel=3)
            setattr(cls, new, method)


def deprecation(owner: str, old: str, new: str) -> str:
    """Return the sentence that every old name warns with."""
    return f"{owner}.{old} is now called {new}; the old name goes in accel {GONE_IN}"
