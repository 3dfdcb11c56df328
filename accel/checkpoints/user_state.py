"""State that the user's own objects keep beside the model's `state_dict`: whatever moved since the run was built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from accel.checkpoints.code.source_syntax import names_of
from accel.checkpoints.snapshot import PLAIN
from accel.checkpoints.weights.weight_names import plain_path, wrapped_attribute
from accel.system.call_stack import is_user_class, is_user_function

__all__ = ["LARGEST_COPY", "UserState"]

_FUNCTIONS = (FunctionType, MethodType, partial)
LONG = 4096
"""Items of a list that are compared one by one; a longer one is compared by its length."""
LARGEST_COPY = 1 << 24
"""Bytes of a tensor of which a copy is kept, to undo a trial."""
Place = tuple[str, Any, str]
"""Name in a checkpoint, owner, and the key or attribute of the owner."""
_OWN = frozenset(vars(nn.Module()))


class UserState:
    """State outside of the model's `state_dict`.

    It is: attributes of its modules, and its buffers that are not persistent; the modules that the loss or the metrics hold, such
    as the head of a metric loss; attributes of the task, and of objects that are called as the loss.

    It is looked for in the objects themselves, in what functions close over, and in the globals that they name. Tensors, numbers,
    texts, and lists and dicts of them are kept, as far as they are not those of the start any more.

    Args:
        model: the user's module.
        holders: the task, the loss and the metrics, by name; None for what is not given.
        own_names: attributes that are no state of the user.
    """

    def __init__(self, model: nn.Module, holders: Mapping[str, Any], own_names: frozenset[str] = frozenset()) -> None:
        self.model, self.holders, self.own_names = model, holders, own_names
        self.owners: dict[str, Any] = {}  # each object whose attributes are looked at, by its name
        self.first = {name: _mark(owner[key]) for name, owner, key in self.places()}
        self.shapes = {name: buffer.shape for name, buffer in model.named_buffers()}
        self.before: dict[str, tuple[Any, Any]] = {}

    def places(self) -> Iterator[Place]:
        """Yield each place whose value may move and can be kept."""
        seen = {id(module) for module in self.model.modules()}
        for path, module in self.model.named_modules():
            if not wrapped_attribute(module):
                name = f"model.{plain_path(self.model, path)}".rstrip(".")
                yield from self._attributes(name, module)
                for key in sorted(module._non_persistent_buffers_set & module._buffers.keys()):
                    yield f"{name}.{key}", module._buffers, key
        for name, holder in self.holders.items():
            yield from self._held(name, holder, seen)

    def _held(self, name: str, holder: Any, seen: set[int]) -> Iterator[Place]:
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
            return
        if isinstance(holder, _FUNCTIONS):
            for key, value in _reached(holder):
                if isinstance(value, (nn.Module, *_FUNCTIONS)) or _has_call(value):
                    yield from self._held(f"{name}.{key}", value, seen)
            return
        yield from self._attributes(name, holder)
        for key, value in list(getattr(holder, "__dict__", {}).items()):
            if key not in self.own_names and (isinstance(value, (nn.Module, *_FUNCTIONS)) or _has_call(value)):
                yield from self._held(f"{name}.{key}", value, seen)

    def _attributes(self, name: str, owner: Any) -> Iterator[Place]:
        attributes = getattr(owner, "__dict__", {})
        self.owners[name] = owner
        for key, value in attributes.items():
            if self._is_own(key) and _can_be_kept(value):
                yield f"{name}.{key}", attributes, key

    def state_dict(self) -> dict[str, Any]:
        """Return the values that are not those of the start any more, by name."""
        current = {name: owner[key] for name, owner, key in self.places()}
        return {name: value for name, value in current.items() if name not in self.first or self.first[name] != _mark(value)}

    def extra_state(self) -> Any:
        """Return what the task's own `get_extra_state` gives; None without one."""
        get = getattr(self.holders.get("task"), "get_extra_state", None)
        return None if get is None else get()

    def resized_buffers(self) -> list[str]:
        """Return the names of the model's buffers that have another shape than at the start, or had none."""
        return [name for name, buffer in self.model.named_buffers() if self.shapes.get(name) != buffer.shape]

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
            _set(owner, key, value, device)
        return lost

    def _is_no_state(self, name: str, key: str) -> bool:
        """Return whether an attribute that is not there is none that a run can have made: of no object here, or over a method."""
        owner = self.owners.get(name)
        return not hasattr(owner, "__dict__") or not self._is_own(key) or callable(getattr(type(owner), key, None))

    def _is_own(self, key: str) -> bool:
        return key not in _OWN and key not in self.own_names and not key.startswith("__")

    def remember(self) -> None:
        """Keep copies of all values, apart from large tensors, for `undo`."""
        self.before = {name: (owner[key], _copied(owner[key])) for name, owner, key in self.places()}

    def undo(self) -> None:
        """Put all values back to what they were when they were remembered. An attribute that is new is taken away."""
        for name, owner, key in list(self.places()):
            if name not in self.before:
                owner.pop(key)
                continue
            value, copy = self.before[name]
            owner[key] = value
            if isinstance(value, Tensor) and isinstance(copy, Tensor):
                with torch.no_grad():
                    value.copy_(copy)
            elif isinstance(value, list):
                value[:] = copy
            elif isinstance(value, dict):
                value.clear()
                value.update(copy)
        self.first |= {name: _mark(value) for name, (value, _) in self.before.items() if name in self.first}
        self.before = {}


def _reached(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a function closes over, is bound to, or names of its globals."""
    if isinstance(function, partial):
        yield from (("func", function.func), *((str(number), value) for number, value in enumerate(function.args)))
        yield from function.keywords.items()
    elif isinstance(function, MethodType):
        yield from (("self", function.__self__), ("func", function.__func__))
    elif isinstance(function, FunctionType) and is_user_function(function):
        for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                yield key, cell.cell_contents
            except ValueError:  # not filled yet
                continue
        names = names_of(function.__code__) & function.__globals__.keys()
        yield from ((key, function.__globals__[key]) for key in sorted(names))


def _has_call(value: Any) -> bool:
    """Return whether a value is an object of a class of the user that is called like a function."""
    return (
        not isinstance(value, type) and "__call__" in dir(type(value)) and hasattr(value, "__dict__") and is_user_class(type(value))
    )


def _set(owner: dict[str, Any], key: str, value: Any, device: torch.device) -> None:
    now = owner.get(key)
    if isinstance(now, Tensor) and isinstance(value, Tensor) and now.shape == value.shape:
        with torch.no_grad():
            now.copy_(value)
        return
    place = now.device if isinstance(now, Tensor) else device
    moved = _to(value, place)
    owner[key] = nn.Parameter(moved, now.requires_grad) if isinstance(now, nn.Parameter) else moved


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to(inner, device) for key, inner in value.items()}
    return type(value)(_to(inner, device) for inner in value) if isinstance(value, list | tuple) else value


def _can_be_kept(value: Any, inside: bool = False) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(_can_be_kept(one, inside=True) for pair in value.items() for one in pair)
    if type(value) in (list, tuple):
        return all(_can_be_kept(one, inside=True) for one in value[:LONG])
    return type(value) in PLAIN or type(value) is Tensor or (type(value) is nn.Parameter and not inside)


class _TensorMark:
    """Mark of a tensor: equal to a later one as long as it is the same tensor and nothing was written to it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = ref(tensor), None if tensor.is_inference() else tensor._version

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _TensorMark) or self.version != other.version:
            return False
        tensor = self.tensor()
        return tensor is not None and tensor is other.tensor()

    __hash__ = None  # type: ignore[assignment]


def _mark(value: Any) -> Any:
    """Return something that is equal as long as a value is what it was, without reading a tensor."""
    if isinstance(value, Tensor):
        return _TensorMark(value)
    if isinstance(value, dict):
        return {key: _mark(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mark(inner) for inner in value] if len(value) <= LONG else (id(value), len(value))
    return value, value != value


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone() if value.numel() * value.element_size() <= LARGEST_COPY else None
    if isinstance(value, dict):
        return {key: inner if isinstance(inner, Tensor) else _copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(inner if isinstance(inner, Tensor) else _copied(inner) for inner in value)
    return value
