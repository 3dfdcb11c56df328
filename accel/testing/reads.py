"""Counts the numbers that are read on the host: on CUDA each one makes the host wait for the device."""

from __future__ import annotations

import traceback
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

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
    """A dispatch mode that counts host reads and remembers where the first few were made.

    It sees what goes through torch's dispatcher, on any device: what it counts on a CPU is what would wait on CUDA.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.places: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket._qualified_op_name in READS:
            self.count += 1
            if len(self.places) < 5:
                frames = [frame for frame in traceback.extract_stack() if "/torch/" not in frame.filename][:-1]
                self.places.append(f"{frames[-1].filename}:{frames[-1].lineno} {frames[-1].line}")
        return func(*args, **(kwargs or {}))
