"""Search for the random generators that a data set, a loader or their transforms hold."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from itertools import islice
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

from accel.device.generators import GeneratorHandle, global_generators, handle_of

__all__ = ["MAX_MEMBERS", "MAX_OBJECTS", "find_generators"]

MAX_OBJECTS = 20_000
"""Objects that are looked at, at most."""
MAX_MEMBERS = 64
"""Members of one list, tuple or dict that are looked at, unless the first is a generator: transforms are few, paths are many."""
LEAVES = (str, bytes, bytearray, int, float, complex, type(None), torch.Tensor, np.ndarray, ModuleType, BuiltinFunctionType, range)
"""Types of objects that hold no generator."""
LIBRARIES = frozenset({"builtins", "torch", "torchvision", "numpy", "typing", "abc", "collections", "functools", "enum", "accel"})
"""Packages whose classes have no generator of their own beside those in their objects."""


def find_generators(*roots: Any) -> list[GeneratorHandle]:
    """Return the generators that can be reached from `roots`, without the global ones, in an order that every process finds.

    It goes through attributes, lists, tuples, dicts, functions with what they enclose, and the global names that functions use.
    Of a Python generator it sees the local variables.
    A generator that is made anew for each sample, or that only compiled code knows, is not found.
    """
    seen = {id(handle.generator) for handle in global_generators()}
    handles: list[GeneratorHandle] = []
    queue: deque[Any] = deque(roots)
    keep: list[Any] = []  # what is seen must live on, so that no id comes twice
    while queue and len(keep) < MAX_OBJECTS:
        value = queue.popleft()
        if isinstance(value, LEAVES) or id(value) in seen:
            continue
        seen.add(id(value))
        keep.append(value)
        handle = handle_of(value)
        if handle is None:
            queue.extend(_members(value))
        else:
            handles.append(handle)
    return handles


def _members(value: Any) -> Iterator[Any]:
    """Yield what an object holds."""
    if isinstance(value, dict | list | tuple | deque):
        members = value.values() if isinstance(value, dict) else value
        only = next((handle_of(member) is not None for member in members), False)  # one for each class, or for each sample
        yield from islice(members, MAX_OBJECTS if only else MAX_MEMBERS)
    elif isinstance(value, GeneratorType):
        yield from list(value.gi_frame.f_locals.values()) if value.gi_frame else ()
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, value.keywords)
    elif isinstance(value, MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, FunctionType):
        yield from _function_members(value)
    elif isinstance(value, CellType):
        try:
            yield value.cell_contents
        except ValueError:  # empty
            return
    if isinstance(value, type):
        if value.__module__.partition(".")[0] not in LIBRARIES:
            yield from list(vars(value).values())
    elif not isinstance(value, FunctionType | MethodType):
        yield from list(getattr(value, "__dict__", {}).values())
        for kind in type(value).__mro__:
            yield kind
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                yield getattr(value, name, None)


def _function_members(function: FunctionType) -> Iterator[Any]:
    """Yield what a function encloses, its defaults, and the values of the global names that it uses."""
    yield from function.__closure__ or ()
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield getattr(function, "__wrapped__", None)
    if function.__module__ and function.__module__.partition(".")[0] not in LIBRARIES:
        yield from (function.__globals__.get(name) for name in _names(function.__code__))


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function uses, and those of the functions inside it."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
