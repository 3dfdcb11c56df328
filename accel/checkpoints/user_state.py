"""State that the user's own objects keep beside the model's `state_dict`: whatever moved since the run was built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import IOBase
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from accel.checkpoints.code.source_syntax import names_of
from accel.checkpoints.user_values.kept_values import can_be_kept, copied, mark, put_back, to_plain, undone
from accel.checkpoints.weights.weight_names import plain_path, wrapped_attribute
from accel.system.call_stack import is_user_class, is_user_function

__all__ = ["UserState"]

_FUNCTIONS = (FunctionType, MethodType, partial)
Place = tuple[str, Any, str]
"""Name in a checkpoint, owner, and the key or attribute of the owner."""
_OWN = frozenset(vars(nn.Module()))


class UserState:
    """State outside of the model's `state_dict`.

    It is: attributes of its modules, and its buffers that are not persistent; the modules that the loss or the metrics hold, such
    as the head of a metric loss; attributes of the task, and of the user's own objects that these hold, such as meters.

    It is looked for in the objects themselves, in what functions close over, and in the globals that they name. What can be kept
    (`accel.checkpoints.user_values`) is, as far as it is not that of the start any more. The position of an iterator cannot be.
    A container or an iterator that a function closes over is left alone.

    Args:
        model: the user's module.
        holders: the task, the loss and the metrics, by name; None for what is not given.
        own_names: attributes that are no state of the user.
    """

    def __init__(self, model: nn.Module, holders: Mapping[str, Any], own_names: frozenset[str] = frozenset()) -> None:
        self.model, self.holders, self.own_names = model, holders, own_names
        self.iterators: set[str] = set()
        """Names of iterators that the user's objects hold, whose position cannot be kept."""
        self.owners: dict[str, Any] = {}  # each object whose attributes are looked at, by its name
        self.first = {name: mark(owner[key]) for name, owner, key in self.places()}
        self.shapes = {name: (buffer.shape, buffer.dtype) for name, buffer in model.named_buffers()}
        self.remembered: list[dict[str, tuple[tuple[Any, Any], bool]]] = []
        """What each `remember` kept that is not undone yet, the innermost last."""

    def places(self, constants: bool = False) -> Iterator[Place]:
        """Yield each place whose value may move and can be kept.

        Args:
            constants: yield also what a run is not expected to move: global values, and containers that functions close over.
        """
        seen = {id(module) for module in self.model.modules()}
        for path, module in self.model.named_modules():
            if not wrapped_attribute(module):
                name = f"model.{plain_path(self.model, path)}".rstrip(".")
                yield from self._attributes(name, module)
                for key in sorted(module._non_persistent_buffers_set & module._buffers.keys()):
                    yield f"{name}.{key}", module._buffers, key
                yield from self._objects(name, module, seen, constants)
        for name, holder in self.holders.items():
            yield from self._held(name, holder, seen, constants)

    def _held(self, name: str, holder: Any, seen: set[int], constants: bool) -> Iterator[Place]:
        if holder is None or id(holder) in seen:
            return
        seen.add(id(holder))
        if isinstance(holder, nn.Module):
            inner = [(path, module) for path, module in holder.named_modules() if path == "" or id(module) not in seen]
            seen |= {id(module) for _, module in inner}
            for path, module in inner:
                prefix = f"{name}.{path}".rstrip(".")
                yield from self._attributes(prefix, module)
                for tensors in (module._parameters, module._buffers):
                    yield from ((f"{prefix}.{key}", tensors, key) for key, tensor in tensors.items() if tensor is not None)
                yield from self._objects(prefix, module, seen, constants)
            return
        if isinstance(holder, _FUNCTIONS):
            for owner, key in _reached(holder):
                value = owner[key]
                if _is_holder(value):
                    yield from self._held(f"{name}.{key}", value, seen, constants)
                elif can_be_kept(value) and (constants or (isinstance(owner, _Cells) and not isinstance(value, Collection))):
                    yield f"{name}.{key}", owner, key
            return
        yield from self._attributes(name, holder)
        yield from self._objects(name, holder, seen, constants)

    def _objects(self, name: str, owner: Any, seen: set[int], constants: bool) -> Iterator[Place]:
        """Yield the places in what an object holds: modules, functions, and objects of the user's own classes."""
        for key, value in list(getattr(owner, "__dict__", {}).items()):
            if self._is_own(key) and _is_holder(value):
                yield from self._held(f"{name}.{key}", value, seen, constants)

    def _attributes(self, name: str, owner: Any) -> Iterator[Place]:
        attributes = getattr(owner, "__dict__", {})
        self.owners[name] = owner
        for key, value in attributes.items():
            if self._is_own(key) and can_be_kept(value):
                yield f"{name}.{key}", attributes, key
            elif _is_iterator(value) and self._is_own(key):
                self.iterators.add(f"{name}.{key}")

    def state_dict(self) -> dict[str, Any]:
        """Return the values that are not those of the start any more, by name."""
        current = {name: owner[key] for name, owner, key in self.places()}
        return {
            name: to_plain(value) for name, value in current.items() if name not in self.first or self.first[name] != mark(value)
        }

    def extra_state(self) -> Any:
        """Return what the task's own `get_extra_state` gives; None without one."""
        get = getattr(self.holders.get("task"), "get_extra_state", None)
        return None if get is None else get()

    def resized_buffers(self) -> list[str]:
        """Return the names of the model's buffers that have another shape or dtype than at the start, or were not there."""
        return [name for name, buffer in self.model.named_buffers() if self.shapes.get(name) != (buffer.shape, buffer.dtype)]

    @contextmanager
    def follow_change(self) -> Iterator[None]:
        """Take what a plugin changes of the model inside for what was there at the start: a resumed run begins with it."""
        moved, resized = set(self.state_dict()), set(self.resized_buffers())
        yield
        self.first |= {name: mark(owner[key]) for name, owner, key in self.places() if name not in moved}
        self.shapes |= {name: (buffer.shape, buffer.dtype) for name, buffer in self.model.named_buffers() if name not in resized}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> list[str]:
        """Put values back where they were; return the names of those whose owner there is not any more.

        A tensor is copied into the one of its shape that is there, so that whoever holds that one sees it.
        """
        places = {name: (owner, key) for name, owner, key in self.places()}
        lost = []
        for name, value in state.items():
            prefix, _, key = name.rpartition(".")
            owner, key = places.get(name, (None if self._is_no_state(prefix, key) else vars(self.owners[prefix]), key))
            if owner is None:
                lost.append(name)
                continue
            owner[key] = put_back(owner.get(key), value, device)
        return lost

    def _is_no_state(self, name: str, key: str) -> bool:
        """Return whether an attribute that is not there is none that a run can have made: of no object here, or over a method."""
        owner = self.owners.get(name)
        return not hasattr(owner, "__dict__") or not self._is_own(key) or callable(getattr(type(owner), key, None))

    def _is_own(self, key: str) -> bool:
        return key not in _OWN and key not in self.own_names and not key.startswith("__")

    def remember(self) -> None:
        """Keep copies of all values, apart from large tensors and arrays, for the next `undo`. Both may be nested."""
        self.remembered.append({
            name: (copied(owner[key]), name in self.first and self.first[name] == mark(owner[key]))
            for name, owner, key in self.places()
        })  # fmt: skip

    def undo(self) -> None:
        """Put all values back to what they were when they were last remembered. An attribute that is new is taken away."""
        before = self.remembered.pop()
        for name, owner, key in list(self.places()):
            if name not in before:
                owner.pop(key)
                continue
            owner[key] = undone(before[name][0])
        first = {name for name, (_, is_first) in before.items() if is_first}
        self.first |= {name: mark(owner[key]) for name, owner, key in self.places() if name in first}


class _Cells:
    """Variables that a function closes over, by name, as a dict would have them."""

    def __init__(self, function: FunctionType) -> None:
        self.cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))

    def get(self, key: str) -> Any:
        return self[key]

    def pop(self, key: str) -> None:
        del self.cells[key].cell_contents

    def __getitem__(self, key: str) -> Any:
        try:
            return self.cells[key].cell_contents
        except ValueError:  # not filled yet
            return None

    def __setitem__(self, key: str, value: Any) -> None:
        self.cells[key].cell_contents = value


def _reached(function: Callable[..., Any]) -> Iterator[tuple[Any, str]]:
    """Yield what a function closes over, is bound to, or names of its globals, as an owner and a key."""
    if isinstance(function, partial):
        owner: Any = {"func": function.func, **{str(number): value for number, value in enumerate(function.args)}}
        yield from ((owner | function.keywords, key) for key in owner | function.keywords)
    elif isinstance(function, MethodType):
        owner = {"self": function.__self__, "func": function.__func__}
        yield from ((owner, key) for key in owner)
    elif isinstance(function, FunctionType) and is_user_function(function):
        owner = _Cells(function)
        yield from ((owner, key) for key in owner.cells)
        names = names_of(function.__code__) & function.__globals__.keys()
        yield from ((function.__globals__, key) for key in sorted(names))


def _is_iterator(value: Any) -> bool:
    return isinstance(value, Iterator) and not isinstance(value, IOBase)


def _is_holder(value: Any) -> bool:
    """Return whether a value may hold state: a module, a function, or an object of a class of the user that is no collection."""
    if isinstance(value, (nn.Module, *_FUNCTIONS)):
        return True
    if isinstance(value, type) or not hasattr(value, "__dict__") or not is_user_class(type(value)):
        return False
    names = dir(type(value))
    return "__call__" in names or not {"__getitem__", "__iter__", "__len__"} & set(names)
