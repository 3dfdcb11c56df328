"""The memory in use: its peak since the last reading, and what tensors hold."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self
from weakref import finalize

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = [
    "CLEAR", "STATUS", "AllocationPeak", "DeviceMemoryPeak", "ProcessMemoryPeak", "collect_tensors", "has_memory", "highest_memory",
    "peak_rss", "storages", "tensor_bytes",
]  # fmt: skip

_reset: dict[str, int] = {}
"""The highest peaks that were reset, by the name of a device, or `process`."""
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class DeviceMemoryPeak:
    """The memory that torch has allocated on a CUDA device. It asks torch's allocator and does not wait for the device.

    Args:
        device: a CUDA device.
    """

    resets = True
    description = "allocated on the device"

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def read_and_reset(self) -> int:
        """Return the peak in bytes since the last call."""
        peak = torch.cuda.max_memory_allocated(self.device)
        _note_peak(str(self.device), peak)
        torch.cuda.reset_peak_memory_stats(self.device)
        return peak


class ProcessMemoryPeak:
    """The physical memory of this process, libraries and data included, as Linux counts it."""

    description = "resident memory of the process"

    def __init__(self) -> None:
        self.resets = self.reset()

    def read_and_reset(self) -> int:
        """Return the peak in bytes since the last call; since the process began, if the system cannot reset it (`resets`)."""
        peak = peak_rss()
        self.reset()
        return peak

    def reset(self) -> bool:
        """Lower the peak to the present use; return False if that is not allowed."""
        _note_peak("process", peak_rss())
        try:
            CLEAR.write_bytes(b"5")
        except OSError:
            return False
        return True


def peak_rss() -> int:
    """Return the peak of this process's resident memory in bytes."""
    try:
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:  # no Linux: the peak since the process began, which cannot be reset there
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _note_peak(name: str, peak: int) -> None:
    _reset[name] = max(peak, _reset.get(name, 0))


def highest_memory(device: torch.device) -> dict[str, int]:
    """Return peaks in bytes since this process began: resident in the `process`, and on CUDA allocated on the `device`."""
    peaks = {"process": max(peak_rss(), _reset.get("process", 0))}
    if device.type == "cuda":
        peaks["device"] = max(torch.cuda.max_memory_allocated(device), _reset.get(str(device), 0))
    return peaks


class AllocationPeak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The most memory that tensors have taken inside a block, above what there was at the start.

    Other runs of the same process, and memory that the process keeps when it is freed, do not count, on a CPU either. There each
    operator is looked at, which takes some microseconds, and compiled code is not seen.

    Args:
        device: device of the run.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device, self.now, self.bytes = device, 0, 0
        self.sizes: dict[int, int] = {}
        """Bytes of each storage that was made inside, by its address."""

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            _note_peak(str(self.device), torch.cuda.max_memory_allocated(self.device))
            torch.cuda.reset_peak_memory_stats(self.device)
            self.now = torch.cuda.memory_allocated(self.device)
            return self
        return super().__enter__()  # type: ignore[no-any-return, no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self.now
        else:
            super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in storages((args, kwargs))}
        for storage in storages(out):
            address = storage._cdata
            if address not in given and address not in self.sizes:
                self.sizes[address] = storage.nbytes()
                self.now += self.sizes[address]
                self.bytes = max(self.bytes, self.now)
                finalize(storage, self.free, address)
        return out

    def free(self, address: int) -> None:
        """Note that a storage is gone."""
        self.now -= self.sizes.pop(address, 0)


def storages(values: Any) -> list[torch.UntypedStorage]:
    """Return the memory of each dense tensor in arguments or results of an operator."""
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return [tensor.untyped_storage() for tensor in tensors if tensor.layout == torch.strided]


def tensor_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Return the bytes of tensors together, each place in memory counted once."""
    places = {(tensor.device, tensor.data_ptr()): tensor.nbytes for tensor in tensors if tensor is not None and has_memory(tensor)}
    return sum(places.values())


def has_memory(tensor: Tensor) -> bool:
    """Tell whether a tensor is dense and has numbers."""
    return tensor.layout == torch.strided and tensor.numel() > 0


def collect_tensors(state: Any) -> list[Tensor]:
    """Return every tensor in a state, however deep."""
    if isinstance(state, Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for one in inner for tensor in collect_tensors(one)]
