"""Overlay: an object with a few attributes of its own over another one."""

from __future__ import annotations

from typing import Any
from weakref import proxy

__all__ = ["Overlay"]


class Overlay:
    """Object that has some attributes of its own, and all others of an object beneath, which it does not keep alive.

    Args:
        base: the object beneath.
        **own: the attributes of its own.
    """

    def __init__(self, base: Any, **own: Any) -> None:
        vars(self).update(own, _base=proxy(base))

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_base"], name)
