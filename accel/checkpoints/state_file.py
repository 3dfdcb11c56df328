"""File of a checkpoint's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch

from accel.system import atomic_files

__all__ = ["without_crc", "write_state"]


def write_state(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Write a state of tensors and plain values; return `sha256` and `bytes`. Raise OSError if the disk does not take it."""
    with atomic_files.replacing(path, "saving.state") as stream, without_crc():
        torch.save(state, cast(Any, stream))
    return stream.checksum()


@contextmanager
def without_crc() -> Iterator[None]:
    """Switch off torch.save's own checksums, which keep all other threads from running Python. The sha256 stands in for them."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)
