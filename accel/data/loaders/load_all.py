"""All samples of a data set as a few tensors, every sample read once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from accel.data.batches.bad_samples import RAISE, BadSampleHandler, BadSampleLog, BadSampleRule, UnreadableSample
from accel.data.batches.collation import check_sample, collate_samples
from accel.data.batches.mapped import can_fill_all
from accel.data.loaders.fork_map import can_fork, fork_map, shared_zeros
from accel.device.cuda.device_threads import thread_pool
from accel.device.generators import GeneratorHandle
from accel.errors import ConfigError, TrainingError
from accel.system import free_space
from accel.system.machine import cores

__all__ = [
    "CHUNK_SIZE",
    "PROCESSES_PAY",
    "CollateParts",
    "RandomSamples",
    "first_sample",
    "free_memory",
    "index_chunks",
    "load_samples",
]

CollateParts = Callable[[list[Tensor]], Any]
"""Function that makes a batch of its parts."""
CHUNK_SIZE = 256
"""Samples that a thread or a process reads at a time."""
PROCESSES_PAY = 1.0
"""Seconds of reading from which on processes are worth their start."""


def first_sample(data: Any, bad: BadSampleRule = RAISE) -> tuple[list[Tensor], CollateParts]:
    """Return the parts of the first sample, each with a leading dimension of 1, and the function that makes a batch of such parts.

    Raises:
        ConfigError: if a sample has anything but tensors, arrays and numbers.
        TrainingError: if no sample can be read, and bad ones may be left out.
    """
    if type(data) is TensorDataset:
        return [tensor[:1] for tensor in data.tensors], tuple
    handler, log = BadSampleHandler(bad, 0, len(data)), BadSampleLog(bad, len(data))
    for index in range(len(data)):
        samples, unreadable = list[Any](), list[UnreadableSample]()
        _read_sample(data, index, handler, samples, unreadable)
        if samples:
            break
        log.add(unreadable)
    else:
        raise TrainingError(f"of {len(data):,} {bad.dataset} samples none can be read; mend them")
    batch = collate_samples(default_collate, samples, [index], bad.dataset)
    if isinstance(batch, Tensor):
        return [batch], lambda parts: parts[0]
    named = isinstance(batch, tuple) and hasattr(batch, "_fields")
    return _tensors_of(batch), (lambda parts: type(batch)(*parts)) if named else list


class RandomSamples(Exception):
    """Error for samples that differ whenever they are read."""


def load_samples(
    data: Any, example: list[Tensor], bad: BadSampleRule = RAISE, handles: Sequence[GeneratorHandle] = ()
) -> tuple[list[Tensor], list[UnreadableSample], str]:
    """Return all samples in memory, as collating all of them would give.

    The first chunk is read here, and tells how long the rest would take. If that is a second or more, forked processes read it, one
    for each core: Pillow holds Python's lock for most of the tenth of a millisecond that a small picture takes. Else threads do.

    Args:
        data: a map-style data set whose samples have tensors, arrays or numbers, each of one shape.
        example: the parts of its first sample (`first_sample`).
        bad: the rule for samples that cannot be read.
        handles: the random generators that the samples may draw from.

    Returns:
        The parts, each (samples, ...); the samples that could not be read, in order, which are zero there; the readers in words.

    Raises:
        RandomSamples: if a sample draws from one of `handles`, or the first one is another than `example`.
        ConfigError: if two samples differ in shape.
        TrainingError: if a process that reads dies.
    """
    if type(data) is TensorDataset:
        return list(data.tensors), [], ""
    loading = _Loading(data, example, bad, handles)
    started = perf_counter()
    unreadable = loading.fill(0)
    if handles and not unreadable and not all(map(_same_bytes, example, loading.tensors)):
        raise RandomSamples
    readers = _fill_rest(loading, unreadable, perf_counter() - started)
    return loading.tensors, unreadable, readers


def _fill_rest(loading: _Loading, unreadable: list[UnreadableSample], seconds: float) -> str:
    """Fill all chunks but the first, and return who did, in words.

    Args:
        loading: the tensors.
        unreadable: receives the samples that could not be read, in order.
        seconds: that the first chunk took.
    """
    rest = range(1, len(loading.chunks))
    readers = min(cores(), len(rest))
    if readers < 2:
        for number in rest:
            unreadable += loading.fill(number)
        return "this process"
    if seconds * len(loading.chunks) > PROCESSES_PAY and can_fork():
        loading.tensors = [shared_zeros(tensor).copy_(tensor) for tensor in loading.tensors]
        for chunk in fork_map(lambda number: loading.fill(rest[number]), len(rest), readers):
            unreadable += chunk
        return f"{readers} processes"
    with thread_pool(readers) as pool:
        try:
            for chunk in pool.map(loading.fill, rest):
                unreadable += chunk
        except BaseException:  # the first that fails speaks for all, and the rest is not read
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return f"{readers} threads"


class _Loading:
    """Tensors of all samples of a data set, which are filled a chunk at a time, by any threads or forked processes.

    Args:
        data: the data set.
        example: the parts of its first sample.
        bad: the rule for samples that cannot be read.
        handles: the random generators that must not move.
    """

    def __init__(self, data: Any, example: list[Tensor], bad: BadSampleRule, handles: Sequence[GeneratorHandle]) -> None:
        self.handles = handles
        self.data, self.handler = data, BadSampleHandler(bad, 0, len(data))
        self.tensors = [torch.empty(len(data), *part.shape[1:], dtype=part.dtype, device="cpu") for part in example]
        self.chunks = list(index_chunks(len(data)))
        self.can_read_all = can_fill_all(data) and hasattr(data, "read_all") and len(self.tensors) == 2

    def fill(self, number: int) -> list[UnreadableSample]:
        """Read chunk `number` into the tensors; return its samples that could not be read, which are zero there.

        Raises:
            RandomSamples: if one draws random numbers.
            ConfigError: if two samples differ in shape.
        """
        marks = [handle.mark() for handle in self.handles]
        unreadable = self._fill(self.chunks[number])
        if [handle.mark() for handle in self.handles] != marks:
            raise RandomSamples
        return unreadable

    def _fill(self, chunk: range) -> list[UnreadableSample]:
        """Read some samples into the tensors."""
        unreadable = list[UnreadableSample]()
        if self.can_read_all:
            pictures, labels = (tensor[chunk.start : chunk.stop] for tensor in self.tensors)
            with suppress(Exception):  # one by one they are another size made this one, and a bad one is named
                labels.copy_(torch.tensor(self.data.read_all(list(chunk), pictures.numpy())))
                return unreadable
        samples, kept, missing = list[Any](), list[int](), list[int]()
        for index in chunk:
            good = len(samples)
            _read_sample(self.data, index, self.handler, samples, unreadable)
            (kept if len(samples) > good else missing).append(index)
        parts = _collate_parts(samples, kept, self.handler.rule.dataset) if samples else [tensor[:0] for tensor in self.tensors]
        for tensor, part in zip(self.tensors, parts, strict=True):
            if part.shape[1:] != tensor.shape[1:] or part.dtype != tensor.dtype:
                raise _shape_error(f"{tuple(tensor.shape[1:])} and {tuple(part.shape[1:])}")
            if missing:
                tensor[kept], tensor[missing] = part, 0
            else:
                tensor[chunk.start : chunk.stop] = part
        return unreadable


def _same_bytes(row: Tensor, rows: Tensor) -> bool:
    """Return whether the first of `rows` has the bytes of `row`, whatever they stand for."""
    return row.contiguous().numpy().tobytes() == rows[:1].numpy().tobytes()


def index_chunks(count: int) -> Iterator[range]:
    """Return the numbers from 0 to `count` - 1, `CHUNK_SIZE` at a time."""
    return (range(start, min(start + CHUNK_SIZE, count)) for start in range(0, count, CHUNK_SIZE))


def free_memory(device: torch.device) -> int | None:
    """Return the bytes of the memory of `device` that nothing uses; None if the system does not tell."""
    if device.type in ("cuda", "xpu"):
        return int(torch.get_device_module(device).mem_get_info(device)[0])
    return free_space.free_memory()


def _read_sample(data: Any, index: int, handler: BadSampleHandler, samples: list[Any], unreadable: list[UnreadableSample]) -> None:
    """Add a sample to `samples`; or to `unreadable`, if it cannot be read and the rule allows that."""
    try:
        sample = data[index]
        check_sample(sample, index, handler.rule.dataset)
        samples.append(sample)
    except Exception as error:
        handler.handle(error, 0, index, lambda _: None, unreadable)


def _collate_parts(samples: list[Any], keys: list[int], dataset: str) -> list[Tensor]:
    """Return the parts of samples, each (samples, ...)."""
    try:
        return _tensors_of(collate_samples(default_collate, samples, keys, dataset))
    except ConfigError as error:
        if error.__cause__ is None:
            raise
        raise _shape_error(str(error).partition("make no batch: ")[2].partition("; ")[0]) from None


def _tensors_of(batch: Any) -> list[Tensor]:
    """Return the tensors of a batch, in order."""
    parts = [batch] if isinstance(batch, Tensor) else batch
    if not isinstance(parts, list | tuple) or not all(isinstance(part, Tensor) for part in parts):
        members = "" if not isinstance(parts, list | tuple) else " of " + ", ".join(type(part).__name__ for part in parts)
        raise ConfigError(f"resident keeps tensors and numbers, and a batch of the data is a {type(batch).__name__}{members}")
    return list(parts)


def _shape_error(reason: str) -> ConfigError:
    """Return the error for samples of several shapes."""
    return ConfigError(
        f"resident needs samples of one shape, and the data has others ({reason}); resize them, or leave resident out"
    )
