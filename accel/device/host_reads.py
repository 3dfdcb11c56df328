"""Counts the numbers that are read on the host: on CUDA each one makes the host wait for the device."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from accel.system.call_stack import ACCEL_ROOT, caller

READS = frozenset(
    f"aten::{name}"
    for name in (
        "_local_scalar_dense",
        "is_nonzero",
        "item",
        "nonzero",
        "equal",
        "allclose",
        "masked_select",
        "_unique2",
        "bincount",
    )
)
"""Operators whose result, or its shape, the host must wait for."""


class HostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that counts host reads and remembers where they were made.

    It sees what goes through torch's dispatcher, on any device: what it counts on a CPU is what would wait on CUDA.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.places: dict[str, int] = {}
        """How many were made where: `FILE:LINE CODE`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket._qualified_op_name in READS:
            self.record(source_line(*caller()))
        return func(*args, **(kwargs or {}))

    def record(self, where: str) -> None:
        """Counts one."""
        self.count += 1
        self.places[where] = self.places.get(where, 0) + 1


def source_line(file: str, line: int) -> str:
    """A line of code as people look for it: `mine.py:12 total += loss.item()`, relative to where they are."""
    path = Path(file)
    for root in (Path(ACCEL_ROOT).parent, Path.cwd()):
        if path.is_relative_to(root):
            path = path.relative_to(root)
    return f"{path}:{line} {linecache.getline(file, line).strip()}".rstrip()
