"""A data set as a few tensors, every sample of it read once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from accel.errors import ConfigError

Form = Callable[[list[Tensor]], Any]
"""Makes a batch of its parts."""
CHUNK = 256
"""Samples that a thread reads at a time."""


def first(data: Any) -> tuple[list[Tensor], Form]:
    """What its first sample is made of, each with a leading dimension of 1, and what makes a batch of such parts.

    Raises:
        ConfigError: where that is anything but tensors, arrays and numbers.
    """
    if type(data) is TensorDataset:
        return [tensor[:1] for tensor in data.tensors], tuple
    batch = default_collate([data[0]])
    if isinstance(batch, Tensor):
        return [batch], lambda parts: parts[0]
    named = isinstance(batch, tuple) and hasattr(batch, "_fields")
    return _parts(batch), (lambda parts: type(batch)(*parts)) if named else list


def read(data: Any, example: list[Tensor]) -> list[Tensor]:
    """All of it in memory, as collating all samples would give.

    There are as many threads as cores. They help where reading waits or decodes large pictures; small ones are decoded one by one,
    as Python's lock is held for most of the 0.12 milliseconds that one takes.

    Args:
        data: a map-style data set whose samples have tensors, arrays or numbers, each of one shape.
        example: the parts of its first sample (`first`).

    Raises:
        ConfigError: where two samples differ in shape.
    """
    if type(data) is TensorDataset:
        return list(data.tensors)
    count = len(data)
    whole = [torch.empty(count, *part.shape[1:], dtype=part.dtype, device="cpu") for part in example]

    at_once = getattr(data, "at_once", False) and hasattr(data, "read_all") and len(whole) == 2

    def fill(chunk: range) -> None:
        if at_once:
            pictures, labels = (tensor[chunk.start : chunk.stop] for tensor in whole)
            with suppress(ConfigError):  # one by one they are another size made this one, and a bad one is named
                labels.copy_(torch.tensor(data.read_all(list(chunk), pictures.numpy())))
                return
        for tensor, part in zip(whole, _tensors(data, chunk), strict=True):
            if part.shape[1:] != tensor.shape[1:] or part.dtype != tensor.dtype:
                raise _uneven(f"{tuple(tensor.shape[1:])} and {tuple(part.shape[1:])}")
            tensor[chunk.start : chunk.stop] = part

    with ThreadPoolExecutor(cores()) as pool:
        try:
            for _ in pool.map(fill, chunks(count)):
                pass
        except BaseException:  # the first that fails speaks for all, and the rest is not read
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return whole


def chunks(count: int) -> Iterator[range]:
    """The numbers from 0 to `count`, `CHUNK` at a time."""
    return (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free(device: torch.device) -> int | None:
    """The memory of `device` that nothing uses, in bytes; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None


def _tensors(data: Any, chunk: range) -> list[Tensor]:
    samples = [data[index] for index in chunk]
    try:
        return _parts(default_collate(samples))
    except RuntimeError as error:  # tensors of several shapes
        raise _uneven(" ".join(str(error).split())[:150]) from None


def _parts(batch: Any) -> list[Tensor]:
    parts = [batch] if isinstance(batch, Tensor) else batch
    if not isinstance(parts, list | tuple) or not all(isinstance(part, Tensor) for part in parts):
        inside = "" if not isinstance(parts, list | tuple) else " of " + ", ".join(type(part).__name__ for part in parts)
        raise ConfigError(f"resident keeps tensors and numbers, and a batch of the data is a {type(batch).__name__}{inside}")
    return list(parts)


def _uneven(why: str) -> ConfigError:
    return ConfigError(f"resident needs samples of one shape, and the data has others ({why}); resize them, or leave resident out")
