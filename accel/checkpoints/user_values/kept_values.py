"""Kinds of value that a checkpoint keeps of the user's objects: plain values, tensors, arrays, containers and random generators.

A checkpoint holds plain values and tensors alone (`weights_only`). Any other kind is a dict there that names its kind.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn

from accel.checkpoints.snapshot import PLAIN
from accel.checkpoints.user_values.sparse_tensors import from_pieces, is_sparse, pieces_of
from accel.device.generators import handle_of

__all__ = ["LARGEST_COPY", "can_be_kept", "copied", "mark", "put_back", "to_plain", "undone"]

LONG = 4096
"""Items of a container that are compared one by one; a longer one is compared by its length."""
LARGEST_COPY = 1 << 24
"""Bytes of a tensor or array of which a copy is kept, to undo a trial, and of an array whose numbers are compared."""
KIND = "kind of value"
"""Key of the dicts that stand for other kinds."""
DICTS = (dict, Counter, OrderedDict, defaultdict)
MANY = (list, tuple, deque, set, frozenset)
OTHERS: dict[str, Callable[[Any], Any]] = {
    "deque": deque, "set": set, "frozenset": frozenset, "bytearray": bytearray, "Counter": Counter, "OrderedDict": OrderedDict,
    "complex": lambda pair: complex(*pair), "ndarray": lambda tensor: tensor.cpu().numpy(),
    "scalar": lambda tensor: tensor.cpu().numpy()[()],
}  # fmt: skip
"""How each other kind is made of its items, where there is no value of the kind yet."""


def can_be_kept(value: Any, inside: bool = False) -> bool:
    """Return whether a checkpoint can keep a value.

    Args:
        value: the value.
        inside: whether it is in a container.
    """
    if type(value) in DICTS:
        return all(can_be_kept(one, inside=True) for pair in value.items() for one in pair)
    if type(value) in MANY:
        items = value[:LONG] if isinstance(value, list | tuple) else value
        return all(can_be_kept(one, inside=True) for one in items)
    if type(value) is np.ndarray or isinstance(value, np.generic):
        return value.dtype.kind in "biufc" and value.dtype.itemsize <= 16 and value.dtype not in (np.longdouble, np.clongdouble)
    if isinstance(value, Tensor) and (value.is_nested or not (is_sparse(value) or value.layout == torch.strided)):
        return False
    if type(value) in (complex, bytearray, *PLAIN, Tensor) or (type(value) is nn.Parameter and not inside):
        return True
    return not inside and handle_of(value) is not None


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


def mark(value: Any) -> Any:
    """Return something that is equal as long as a value is what it was, without reading a tensor."""
    if isinstance(value, Tensor):
        return _TensorMark(value)
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.tobytes() if value.nbytes <= LARGEST_COPY else id(value)
    if isinstance(value, (*DICTS, *MANY)) and len(value) > LONG:
        return id(value), len(value)
    if isinstance(value, dict):
        return {key: mark(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return frozenset(value)
    if isinstance(value, list | tuple | deque):
        return [mark(inner) for inner in value]
    if isinstance(value, bytearray):
        return bytes(value)
    if (handle := handle_of(value)) is not None:
        return handle.mark()
    return value, value != value


def to_plain(value: Any) -> Any:
    """Return a value as plain values and tensors."""
    if type(value) is dict:
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, dict):
        return {KIND: type(value).__name__, "items": {key: to_plain(inner) for key, inner in value.items()}}
    if type(value) in (list, tuple):
        return type(value)(to_plain(inner) for inner in value)
    if isinstance(value, deque):
        return {KIND: "deque", "items": [to_plain(inner) for inner in value]}
    if isinstance(value, set | frozenset):
        return {KIND: type(value).__name__, "items": [to_plain(inner) for inner in sorted(value, key=repr)]}
    if isinstance(value, np.ndarray):
        return {KIND: "ndarray", "items": torch.from_numpy(np.array(value, order="C"))}
    if isinstance(value, np.generic):
        return {KIND: "scalar", "items": torch.from_numpy(np.array(value))}
    if isinstance(value, complex):
        return {KIND: "complex", "items": [value.real, value.imag]}
    if isinstance(value, bytearray):
        return {KIND: "bytearray", "items": bytes(value)}
    if is_sparse(value):
        coalesced = value.layout != torch.sparse_coo or value.is_coalesced()
        return {KIND: "sparse", "items": [str(value.layout), list(value.shape), pieces_of(value), coalesced]}
    handle = handle_of(value)
    return value if handle is None else {KIND: "generator", "items": handle.state()}


def put_back(now: Any, saved: Any, device: torch.device) -> Any:
    """Return a saved value in its own kind: the present value itself with the saved content, where it can take that.

    Args:
        now: the present value in its place.
        saved: what `to_plain` made of a value.
        device: of tensors that have no place yet.
    """
    if isinstance(saved, Tensor):
        return _put_tensor(now, saved, device)
    if not isinstance(saved, dict):
        return type(saved)(put_back(None, one, device) for one in saved) if isinstance(saved, list | tuple) else saved
    if KIND not in saved:
        return {key: put_back(None, one, device) for key, one in saved.items()}
    kind, items = saved[KIND], saved["items"]
    if kind == "generator":
        handle = handle_of(now)
        if handle is not None:
            handle.restore(items)
        return now
    if kind == "sparse":
        tensor = from_pieces(*items).to(now.device if isinstance(now, Tensor) else device)
        return nn.Parameter(tensor, now.requires_grad) if isinstance(now, nn.Parameter) else tensor
    items = items if isinstance(items, Tensor) else put_back(None, items, device)
    if type(now).__name__ == kind and isinstance(now, (deque, set, bytearray, *DICTS[1:])):
        now.clear()
        getattr(now, "update" if isinstance(now, set | dict) else "extend")(items)
        return now
    value = OTHERS.get(kind, dict)(items)
    if isinstance(now, np.ndarray) and isinstance(value, np.ndarray) and now.shape == value.shape and now.dtype == value.dtype:
        np.copyto(now, value)
        return now
    return value


def _put_tensor(now: Any, saved: Tensor, device: torch.device) -> Tensor:
    """Return a saved tensor, in the one of its shape and dtype that is there, so that whoever holds that one sees it."""
    if isinstance(now, Tensor) and now.shape == saved.shape and now.dtype == saved.dtype:
        with torch.no_grad():
            now.copy_(saved)
        return now
    moved = saved.to(now.device if isinstance(now, Tensor) else device)
    return nn.Parameter(moved, now.requires_grad) if isinstance(now, nn.Parameter) else moved


def copied(value: Any) -> Any:
    """Return what `undone` needs: the value itself, and copies of all that is in it, apart from what is large."""
    if isinstance(value, Tensor):
        pieces = pieces_of(value) if is_sparse(value) else [value]
        small = sum(piece.nbytes for piece in pieces) <= LARGEST_COPY and not value.is_inference()
        return value, value.detach().clone() if small else None
    if isinstance(value, np.ndarray):
        return value, value.copy() if value.nbytes <= LARGEST_COPY else None
    if isinstance(value, dict):
        return value, {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | deque):
        return value, [copied(inner) for inner in value]
    if isinstance(value, set | bytearray):
        return value, list(value)
    handle = handle_of(value)
    return value, None if handle is None else handle.state()


def undone(copy: tuple[Any, Any]) -> Any:
    """Return the value that was copied, with what was in it then."""
    value, content = copy
    if content is None:
        return value
    if isinstance(value, Tensor):
        with torch.no_grad():
            if not is_sparse(value) or value.layout == torch.sparse_coo:
                value.copy_(content)
            elif value._nnz() == content._nnz():
                for piece, copy_of_piece in zip(pieces_of(value), pieces_of(content), strict=True):
                    piece.copy_(copy_of_piece)
    elif isinstance(value, np.ndarray):
        np.copyto(value, content)
    elif isinstance(value, dict):
        before = {key: undone(inner) for key, inner in content.items()}
        value.clear()
        value.update(before)
    elif isinstance(value, set | bytearray):
        value.clear()
        getattr(value, "update" if isinstance(value, set) else "extend")(content)
    elif isinstance(value, list | tuple | deque):
        items = [undone(inner) for inner in content]
        if not isinstance(value, tuple):
            value.clear()
            value.extend(items)
    elif (handle := handle_of(value)) is not None:
        handle.restore(content)
    return value
