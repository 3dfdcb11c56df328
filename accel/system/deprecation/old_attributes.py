"""Old names of attributes and methods, which go on working and warn."""

from __future__ import annotations

import warnings
from typing import Any

from accel.errors import MovedWarning
from accel.system.deprecation.old_paths import GONE_IN

__all__ = ["MovedAttribute", "deprecation", "take_over_overrides"]


class MovedAttribute:
    """Old name of an attribute or method: reading it warns at the reader's line, and gives what the new name gives.

    An object may set an attribute of its own by the old name, which then has nothing to do with the new one.

    Args:
        new: the new name.
    """

    def __init__(self, new: str) -> None:
        self.new = new

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        warnings.warn(deprecation(type(owner).__name__, self.old, self.new), MovedWarning, stacklevel=2)
        return getattr(owner, self.new)


def take_over_overrides(cls: type, renamed: dict[str, str]) -> None:
    """Let a subclass that overrides a method by its old name override it by the new one, with a MovedWarning.

    Call it from `__init_subclass__`.

    Args:
        cls: the subclass.
        renamed: old names of methods, each with its new name.
    """
    for old, new in renamed.items():
        method = vars(cls).get(old)
        if callable(method) and new not in vars(cls):
            warnings.warn(deprecation(cls.__name__, old, new), MovedWarning, stacklevel=3)
            setattr(cls, new, method)


def deprecation(owner: str, old: str, new: str) -> str:
    """Return the sentence that every old name warns with."""
    return f"{owner}.{old} is now called {new}; the old name goes in accel {GONE_IN}"
