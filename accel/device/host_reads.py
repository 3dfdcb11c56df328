"""A count of the numbers that are read on the host: on CUDA each makes the host wait for the device."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from accel.system.call_stack import ACCEL_ROOT, caller

__all__ = ["READS", "HostReads", "source_line"]

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
    """Dispatch mode that counts host reads by the line of code that makes them.

    It sees all operators that go through torch's dispatcher, on any device: its count on a CPU is the number of waits on CUDA.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.places: dict[str, int] = {}
        """The number of reads by line of code: `FILE:LINE CODE`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket._qualified_op_name in READS:
            self.record(source_line(*caller()))
        return func(*args, **(kwargs or {}))

    def record(self, line: str) -> None:
        """Count one read at a line of code."""
        self.count += 1
        self.places[line] = self.places.get(line, 0) + 1


def source_line(file: str, line: int) -> str:
    """Return a line of code in the form in which people look for it: `train.py:12 total += loss.item()`.

    Args:
        file: its path; it is shown relative to the working directory or to accel's folder, if it lies there.
        line: its number, from 1.
    """
    path = Path(file)
    for root in (Path(ACCEL_ROOT).parent, Path.cwd()):
        if path.is_relative_to(root):
            path = path.relative_to(root)
    return f"{path}:{line} {linecache.getline(file, line).strip()}".rstrip()
