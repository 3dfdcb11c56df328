"""Digest of what a batch or a sample holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["content_digest"]


def content_digest(value: Any) -> str:
    """Return a digest of tensors, arrays, numbers and texts in lists, tuples and dicts. Of other objects only the type counts."""
    digest = sha256()
    for piece in _pieces(value):
        digest.update(piece)
    return digest.hexdigest()[:16]


def _pieces(value: Any) -> Iterator[bytes]:
    yield f"<{type(value).__name__}".encode()
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        yield f"{tuple(value.shape)}{value.dtype}".encode()
        with suppress(RuntimeError, TypeError):  # sparse, or without memory
            yield value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
    elif isinstance(value, np.ndarray):
        yield f"{value.shape}{value.dtype}".encode() + (value.tobytes() if value.dtype != object else b"")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key).encode()
            yield from _pieces(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _pieces(inner)
    elif isinstance(value, str | bytes | int | float | complex | bool | np.generic):
        yield repr(value).encode()
    elif hasattr(value, "tobytes"):  # a picture of Pillow
        yield value.tobytes()
    elif hasattr(value, "__dict__"):
        yield from _pieces(vars(value))
