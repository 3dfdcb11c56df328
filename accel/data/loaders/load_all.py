"""A data set as a few tensors, every sample of it read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from accel.data.batches.bad_samples import RAISE, BadSampleHandler, BadSampleLog, BadSampleRule, UnreadableSample
from accel.data.batches.rng_guard import host_rng_state
from accel.data.loaders.fork_map import can_fork, fork_map, shared_zeros
from accel.errors import ConfigError, TrainingError
from accel.system import free_space
from accel.system.machine import cores

__all__ = ["CHUNK", "PAYS", "Form", "chunks", "first_sample", "free", "read"]

Form = Callable[[list[Tensor]], Any]
"""Makes a batch of its parts."""
CHUNK = 256
"""Samples that a thread or a process reads at a time."""
PAYS = 1.0
"""Seconds of reading from which on processes are worth their start."""


def first_sample(data: Any, bad: BadSampleRule = RAISE) -> tuple[list[Tensor], Form]:
    """What its first sample is made of, each with a leading dimension of 1, and what makes a batch of such parts.

    Raises:
        ConfigError: where that is anything but tensors, arrays and numbers.
        TrainingError: where no sample can be read, and bad ones may be left out.
    """
    if type(data) is TensorDataset:
        return [tensor[:1] for tensor in data.tensors], tuple
    fates, ledger = BadSampleHandler(bad, 0, len(data)), BadSampleLog(bad, len(data))
    for index in range(len(data)):
        found, unread = list[Any](), list[UnreadableSample]()
        _add(data, index, fates, found, unread)
        if found:
            break
        ledger.note(unread)
    else:
        raise TrainingError(f"of {len(data):,} {bad.what} samples none can be read; mend them")
    batch = default_collate(found)
    if isinstance(batch, Tensor):
        return [batch], lambda parts: parts[0]
    named = isinstance(batch, tuple) and hasattr(batch, "_fields")
    return _parts(batch), (lambda parts: type(batch)(*parts)) if named else list


def read(data: Any, example: list[Tensor], bad: BadSampleRule = RAISE) -> tuple[list[Tensor], list[UnreadableSample], str]:
    """All of it in memory, as collating all samples would give.

    The first samples are read here, and tell how long the rest would take. Where that is a second or more, forked processes read
    it, one for each core: Pillow holds Python's lock for most of the tenth of a millisecond that a small picture takes. Else
    threads do. Data that draws from the global random numbers is read here, one sample after the other.

    Args:
        data: a map-style data set whose samples have tensors, arrays or numbers, each of one shape.
        example: the parts of its first sample (`first`).
        bad: what to do about samples that cannot be read. Under skip and substitute they are named.

    Returns:
        The parts; the samples that could not be read, in order, which are zero there; by whom it was read, in words.

    Raises:
        ConfigError: where two samples differ in shape.
        TrainingError: where a process that reads dies.
    """
    if type(data) is TensorDataset:
        return list(data.tensors), [], ""
    fates = BadSampleHandler(bad, 0, len(data))
    count = len(data)
    whole = [torch.empty(count, *part.shape[1:], dtype=part.dtype, device="cpu") for part in example]
    parts = list(chunks(count))

    at_once = getattr(data, "at_once", False) and hasattr(data, "read_all") and len(whole) == 2

    def fill(number: int) -> list[UnreadableSample]:
        chunk, unread = parts[number], list[UnreadableSample]()
        if at_once:
            pictures, labels = (tensor[chunk.start : chunk.stop] for tensor in whole)
            with suppress(Exception):  # one by one they are another size made this one, and a bad one is named
                labels.copy_(torch.tensor(data.read_all(list(chunk), pictures.numpy())))
                return unread
        samples, kept, missing = list[Any](), list[int](), list[int]()
        for index in chunk:
            good = len(samples)
            _add(data, index, fates, samples, unread)
            (kept if len(samples) > good else missing).append(index)
        for tensor, part in zip(whole, _tensors(samples) if samples else [tensor[:0] for tensor in whole], strict=True):
            if part.shape[1:] != tensor.shape[1:] or part.dtype != tensor.dtype:
                raise _uneven(f"{tuple(tensor.shape[1:])} and {tuple(part.shape[1:])}")
            if missing:
                tensor[kept], tensor[missing] = part, 0
            else:
                tensor[chunk.start : chunk.stop] = part
        return unread

    before, since = host_rng_state(), perf_counter()
    unread = fill(0)
    took, hands = perf_counter() - since, min(cores(), len(parts) - 1)
    if host_rng_state() != before or hands < 2:
        for number in range(1, len(parts)):
            unread += fill(number)
        return whole, unread, "this process"
    if took * len(parts) > PAYS and can_fork():
        whole = [shared_zeros(tensor).copy_(tensor) for tensor in whole]
        for others in fork_map(lambda number: fill(number + 1), len(parts) - 1, hands):
            unread += others
        return whole, unread, f"{hands} processes"
    with ThreadPoolExecutor(hands) as pool:
        try:
            for others in pool.map(fill, range(1, len(parts))):
                unread += others
        except BaseException:  # the first that fails speaks for all, and the rest is not read
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return whole, unread, f"{hands} threads"


def chunks(count: int) -> Iterator[range]:
    """The numbers from 0 to `count`, `CHUNK` at a time."""
    return (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def free(device: torch.device) -> int | None:
    """The memory of `device` that nothing uses, in bytes; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_space.free_memory()


def _add(data: Any, index: int, fates: BadSampleHandler, samples: list[Any], unread: list[UnreadableSample]) -> None:
    """Adds the sample to `samples`, or to `unread` where it cannot be read and need not be."""
    try:
        samples.append(data[index])
    except Exception as error:
        fates.handle(error, 0, index, lambda _: None, unread)


def _tensors(samples: list[Any]) -> list[Tensor]:
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
