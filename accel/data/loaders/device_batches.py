"""Batches out of a device's own memory: nothing is read, decoded or copied to it while the model trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from accel.data.batches.bad_samples import RAISE, BadSampleHandler, BadSampleLog, BadSampleRule, UnreadableSample
from accel.data.batches.base import Batches, Order
from accel.data.batches.rank_share import SINGLE_RANK, RankShare
from accel.data.datasets.shift_flip import PaddedFrames, ShiftFlip
from accel.data.loaders.load_all import Form
from accel.data.sampling import permutation

__all__ = ["AHEAD", "DeviceBatches"]

AHEAD = 65536
"""For about so many samples random numbers are drawn at a time: an operation on a few costs as much as one on many."""


class DeviceBatches(Batches):
    """The batches of tensors on a device, in the order and with the random numbers of `accel.data.batches.mapped.MapBatches`.

    Args:
        parts: each (samples, ...); where `moves` is not None the first is pictures (samples, height, width, channels).
        form: makes a batch of its parts.
        moves: how training moves the pictures; None where it takes all as it is.
        device: where all of it shall live, and the batches be made.
        share: which part of each batch is this rank's.
        rule: what to do about samples that could not be read.
        bad: which they are; what `parts` holds of them is never shown.
        order: of an epoch, where it is shuffled.

    Raises:
        TrainingError: where there are too many of them.
    """

    samples: int
    bad_sample_log: BadSampleLog
    orderable = True

    def __init__(
        self, parts: list[Tensor], form: Form, moves: ShiftFlip | None, batch_size: int, seed: int, shuffle: bool,
        device: torch.device, share: RankShare = SINGLE_RANK, rule: BadSampleRule = RAISE, bad: Sequence[UnreadableSample] = (),
        order: Order = permutation,
    ) -> None:  # fmt: skip
        self.share, self.order = share, order
        self.form, self.moves, self.batch_size, self.seed, self.shuffle = form, moves, batch_size, seed, shuffle
        self.device, self.samples = device, len(parts[0])
        self.count = share.batches(self.samples, batch_size)
        self.bad_sample_handler, self.bad_sample_log = BadSampleHandler(rule, seed, self.samples), BadSampleLog(rule, self.samples)
        self.bad_sample_log.note(bad)
        self.bad = frozenset(sample for sample, _ in bad)
        self.windows = None if moves is None else PaddedFrames(parts[0], moves, device)
        self.rest = [part.to(device) for part in (parts if moves is None else parts[1:])]
        self.bytes = sum(part.nbytes for part in self.rest) + (0 if self.windows is None else self.windows.bytes)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        order = self.order(self.samples, self.seed, epoch) if self.shuffle else torch.arange(self.samples, device="cpu")
        order = self.share.indices(order, self.batch_size)
        ahead = self.batch_size * max(1, AHEAD // self.batch_size)
        for place in range(start * self.batch_size, len(order), ahead):
            block = order[place : place + ahead]
            sizes: int | list[int] = self.batch_size
            if self.bad:
                chunks = [chunk for part in torch.split(block, self.batch_size) if len(chunk := self._readable(epoch, part))]
                block, sizes = torch.cat([block[:0], *chunks]), [len(chunk) for chunk in chunks]
            if len(block):
                yield from self._batches(epoch, self._here(block), sizes)

    def counted(self, batches: Iterator[Any], start: int) -> Iterator[Any]:
        return self.share.counted(batches, start, self.samples, self.batch_size)

    def _readable(self, epoch: int, keys: Tensor) -> Tensor:
        """What a batch of `keys` consists of: without those that could not be read, or with others in their place."""
        found = keys.tolist()
        if self.bad.isdisjoint(found):
            return keys
        rule = self.bad_sample_handler.rule
        good = [key for key in found if key not in self.bad]
        if rule.policy == "substitute" or (rule.refill and not good):
            good = [self._instead(epoch, key) if key in self.bad else key for key in found]
        if not good and self.share.ranks > 1:
            raise self.bad_sample_handler.all_gone(found)
        return torch.tensor(good, dtype=keys.dtype)

    def _instead(self, epoch: int, key: int) -> int:
        """The number of the sample that stands for `key`."""
        for other in self.bad_sample_handler.candidates(epoch, key):
            if other not in self.bad:
                return other
        raise self.bad_sample_handler.none_left(key, ())

    def _batches(self, epoch: int, indices: Tensor, sizes: int | list[int]) -> Iterator[Any]:
        places = [indices]
        if self.windows is not None and self.moves is not None:
            places += self.moves.draw(self.seed, epoch, indices)
        for keys, *window in zip(*(torch.split(place, sizes) for place in places), strict=True):
            pictures = [] if self.windows is None else [self.windows.gather(keys, *window)]
            yield self.form([*pictures, *(part[keys] for part in self.rest)])

    def _here(self, block: Tensor) -> Tensor:
        """On the device, without the host waiting for it."""
        return block.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else block.to(self.device)
