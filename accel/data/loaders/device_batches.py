"""Batches out of a device's own memory: nothing is read, decoded or copied to it while the model trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from accel.data.batches.bad_samples import RAISE, BadSampleHandler, BadSampleLog, BadSampleRule, UnreadableSample
from accel.data.batches.base import Batches, Order
from accel.data.batches.counted import CountedBatch, Trust
from accel.data.datasets.shift_flip import PaddedFrames, ShiftFlip
from accel.data.loaders.load_all import CollateParts
from accel.data.ranks.rank_share import SINGLE_RANK, RankShare
from accel.data.sampling import permutation
from accel.device.cuda.pinned_memory import PinnedMemory

__all__ = ["DRAW_AHEAD", "DeviceBatches"]

DRAW_AHEAD = 65536
"""Samples, about, for which random numbers are drawn at a time: an operation on a few costs as much as one on many."""


class DeviceBatches(Batches):
    """Batches of tensors on a device, in the order and with the random numbers of `accel.data.batches.mapped.MapBatches`.

    Args:
        parts: each (samples, ...); if `shift_flip` is given, the first is pictures (samples, height, width, channels).
        collate: makes a batch of its parts.
        shift_flip: the augmentation of the pictures; None for none.
        batch_size: samples per batch and rank.
        seed: of the run.
        shuffle: another order in every epoch.
        device: where all parts live, and the batches are made.
        share: the part of each batch that is this rank's.
        rule: for samples that could not be read.
        bad: the samples that could not be read; their rows in `parts` are never shown.
        order: of an epoch, where it is shuffled.

    Raises:
        TrainingError: if more of them are bad than the rule allows.
    """

    samples: int
    bad_sample_log: BadSampleLog
    orderable = is_counted = can_be_read_aside = True

    def __init__(
        self, parts: list[Tensor], collate: CollateParts, shift_flip: ShiftFlip | None, batch_size: int, seed: int, shuffle: bool,
        device: torch.device, share: RankShare = SINGLE_RANK, rule: BadSampleRule = RAISE, bad: Sequence[UnreadableSample] = (),
        order: Order = permutation,
    ) -> None:  # fmt: skip
        self.share, self.order = share, order
        self.collate, self.shift_flip, self.batch_size, self.seed, self.shuffle = collate, shift_flip, batch_size, seed, shuffle
        self.device, self.samples, self.pinned = device, len(parts[0]), PinnedMemory("indices")
        self.count = share.batches(self.samples, batch_size)
        self.bad_sample_handler, self.bad_sample_log = BadSampleHandler(rule, seed, self.samples), BadSampleLog(rule, self.samples)
        self.bad_sample_log.add(bad)
        self.bad = frozenset(sample for sample, _ in bad)
        self.frames = None if shift_flip is None else PaddedFrames(parts[0], shift_flip, device)
        self.other_parts = [part.to(device) for part in (parts if shift_flip is None else parts[1:])]
        self.bytes = sum(part.nbytes for part in self.other_parts) + (0 if self.frames is None else self.frames.bytes)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        order = self.order(self.samples, self.seed, epoch) if self.shuffle else torch.arange(self.samples, device="cpu")
        order = self.share.indices(order, self.batch_size)
        step = self.batch_size * max(1, DRAW_AHEAD // self.batch_size)
        for begin in range(start * self.batch_size, len(order), step):
            block = order[begin : begin + step]
            sizes: int | list[int] = self.batch_size
            if self.bad:
                chunks = [chunk for part in torch.split(block, self.batch_size) if len(chunk := self._readable(epoch, part))]
                block, sizes = torch.cat([block[:0], *chunks]), [len(chunk) for chunk in chunks]
            if len(block):
                yield from self._batches(epoch, self.pinned.send(block, self.device), sizes)

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[CountedBatch]:
        trust: Trust = "batch" if self.bad_sample_handler.rule.policy == "skip" else "size"
        return self.share.counted(batches, start, self.samples, self.batch_size, self.counter, trust)

    def _readable(self, epoch: int, keys: Tensor) -> Tensor:
        """Return the samples of a batch of `keys`: without those that could not be read, or with others in their place."""
        numbers = keys.tolist()
        if self.bad.isdisjoint(numbers):
            return keys
        rule = self.bad_sample_handler.rule
        readable = [key for key in numbers if key not in self.bad]
        if rule.policy == "substitute" or (rule.refill and not readable):
            readable = [self._substitute(epoch, key) if key in self.bad else key for key in numbers]
        if not readable and self.share.ranks > 1:
            raise self.bad_sample_handler.empty_batch_error(numbers)
        return torch.tensor(readable, dtype=keys.dtype)

    def _substitute(self, epoch: int, key: int) -> int:
        """Return the number of the sample in place of `key`."""
        for other in self.bad_sample_handler.candidates(epoch, key):
            if other not in self.bad:
                return other
        raise self.bad_sample_handler.no_substitute_error(key, ())

    def _batches(self, epoch: int, indices: Tensor, sizes: int | list[int]) -> Iterator[Any]:
        """Yield the batches of the samples `indices`, split by `sizes`."""
        columns = [indices]
        if self.frames is not None and self.shift_flip is not None:
            columns += self.shift_flip.draw(self.seed, epoch, indices)
        for keys, *offsets in zip(*(torch.split(place, sizes) for place in columns), strict=True):
            pictures = [] if self.frames is None else [self.frames.gather(keys, *offsets)]
            yield self.collate([*pictures, *(part[keys] for part in self.other_parts)])
