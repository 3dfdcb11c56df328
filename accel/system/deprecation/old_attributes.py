"""Old names of attributes and methods, which go on working and warn."""

from __future__ import annotations

import warnings
from typing import Any

from accel.errors import MovedWarning
from accel.system.deprecation.old_paths import GONE_IN

__all__ = ["MovedAttribute", "deprecation", "moved_names", "take_over_overrides"]


class MovedAttribute:
    """Old name of an attribute or method: reading it warns at the reader's line, and gives what the new name gives.

    An object may set an attribute of its own by the old name, which then has nothing to do with the new one.

    Args:
        new: the new name.
        old: the old name, needed only where the class body is over and no longer tells it (`__set_name__`).
    """

    def __init__(self, new: str, old: str = "") -> None:
        self.new, self.old = new, old

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:  # `Base.old(self)` in an override, whose class has warned; or a tool that lists attributes
            return getattr(kind, self.new, self)
        warnings.warn(deprecation(type(owner).__name__, self.old, self.new), MovedWarning, stacklevel=2)
        overriding = [cls for cls in type(owner).__mro__ if _overrides(cls, self.old)]
        # an override hides this descriptor from all but its own `super().old()`, which asks for the next class's method
        return getattr(super(overriding[-1], owner) if overriding else owner, self.new)


def moved_names(cls: type) -> dict[str, str]:
    """Return the old names that a class has or inherits, each with its new name."""
    return {old: moved.new for base in cls.__mro__ for old, moved in vars(base).items() if isinstance(moved, MovedAttribute)}


def take_over_overrides(cls: type, renamed: dict[str, str]) -> None:
    """Let a subclass that overrides a method or property by its old name override it by the new one, with a MovedWarning.

    The override may be the subclass's own or come from a mixin. Call it from `__init_subclass__`.

    Args:
        cls: the subclass.
        renamed: old names of methods and properties, each with its new name.
    """
    for old, new in renamed.items():
        nearest = next((base for base in cls.__mro__ if new in vars(base) or _overrides(base, old)), cls)
        if new not in vars(nearest) and _overrides(nearest, old):
            warnings.warn(deprecation(cls.__name__, old, new), MovedWarning, stacklevel=3)
            setattr(cls, new, vars(nearest)[old])


def _overrides(cls: type, old: str) -> bool:
    attribute = vars(cls).get(old)
    return callable(attribute) or isinstance(attribute, property)


def deprecation(owner: str, old: str, new: str) -> str:
    """Return the sentence that every old name warns with."""
    return f"{owner}.{old} is now called {new}; the old name goes in accel {GONE_IN}"
