"""Resident: the whole data set in the device's memory, as bytes.

Every sample is read once, before the first update. From then on a batch is one
gather in memory: cropped, mirrored, and nothing of it touched by Python sample
by sample. Order and random numbers are those of the plain loader, so the model
sees the same pictures, bit for bit.

Helps   data that fits: CIFAR-10 trains without waiting for a single picture.
Hurts   data that does not fit (it is refused), or that moves in ways of its
        own: a `__getitem__` that draws random numbers is asked only once.
Costs   memory: the pictures with what may come in at their borders, twice where
        they are mirrored. The time to read all of it at the start, by all cores,
        which the plan tells; with resident.cache only the first time.
Source  Jordan, 94 % on CIFAR-10 in 3.29 seconds on a single GPU, arXiv
        2404.00498 (alternating flip, padded crop on the device); random numbers
        by Philox, Salmon et al., 2011.
Exact   A batch is that of the plain loader to the last bit, while flip, pad and
        edge are left to the task. A data set that defines `sample(index, rng)`
        says by `moves()` what that does (`accel.data.datasets.shift_flip.ShiftFlip`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset

from accel.data.batches.bad_samples import BadSampleRule, UnreadableSample
from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.cache import tensor_cache
from accel.data.datasets.shift_flip import ShiftFlip, size
from accel.data.loaders import load_all
from accel.data.loaders.device_batches import DeviceBatches
from accel.errors import ConfigError
from accel.parts import Loader
from accel.values import Whole

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Resident"]


@dataclass(eq=False)
class Resident(Loader):
    """The whole data set in the device's memory.

    Args:
        flip: task mirrors as the task does; none never; random half of the pictures; alternate each in every other epoch.
        pad: how many pixels training moves a picture by, at most, up, down, left and right; null as the task does.
        edge: what comes in from outside then: black, or the picture reflected at its border.
        cache: null reads the data set anew in each run; auto keeps it in the user's cache directory, or name a directory.
    """

    flip: Literal["task", "none", "random", "alternate"] = "task"
    pad: Whole | None = None
    edge: Literal["black", "reflect"] = "black"
    cache: str | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.device = run.device
        self.shelves: list[DeviceBatches] = []
        self.origin: list[str] = []
        self.readings: list[str] = []

    def open(self, data: Any, train: bool) -> Batches:
        """The batches of a map-style data set, which is read here and now.

        Raises:
            ConfigError: for ready batches, a stream, samples of several shapes, moves that are not known, or too much data.
        """
        plain = super().open(data, train)
        if not isinstance(plain, MapBatches):
            kind = "a stream of samples" if isinstance(data, IterableDataset) else "ready batches"
            raise ConfigError(f"resident needs a map-style data set, and the data is {kind}; pass the data set itself")
        if plain.count == 0:
            return plain
        if hasattr(data, "collate"):
            kind = type(data).__name__
            raise ConfigError(f"resident makes batches by itself, and {kind} has a collate of its own; leave resident out")
        rule = self.rule(train)
        parts, form = load_all.first_sample(data, rule)
        moves = self._moves(data, parts[0], train)
        self._room(data, parts, moves)
        found, bad = self._read(data, parts, rule)
        shelf = DeviceBatches(found, form, moves, self.batch_size, self.seed, train, self.device, self.share, rule, bad, self.order)
        self.shelves.append(shelf)
        return shelf

    def _moves(self, data: Any, example: Tensor, train: bool) -> ShiftFlip | None:
        """How the pictures are moved: as the data set says, and in training as the settings change it."""
        moves = ShiftFlip()
        if hasattr(data, "moves"):
            moves = data.moves()
        elif hasattr(data, "sample"):
            kind = type(data).__name__
            raise ConfigError(
                f"resident cannot know what {kind}.sample(index, rng) draws; define {kind}.moves(), or leave resident out"
            )
        if train:
            flip = moves.flip if self.flip == "task" else self.flip
            pad = moves.pad if self.pad is None else self.pad
            moves = replace(moves, flip=flip, pad=pad, edge=self.edge if self.changed("edge") else moves.edge)
        if moves.pad == 0 and moves.flip == "none":
            return None
        if example.dim() != 4 or not 1 <= example.shape[3] <= 4:
            shape = tuple(example.shape[1:])
            needed = "resident.flip and resident.pad need pictures of (height, width, 1 to 4 channels)"
            raise ConfigError(f"{needed}, and the data is {shape}; leave both out")
        if moves.edge == "reflect" and moves.pad >= min(example.shape[1:3]):
            raise ConfigError(
                f"resident.edge=reflect needs a pad below the pictures' side, not {moves.pad}; set a smaller resident.pad"
            )
        return moves

    def _room(self, data: Any, example: list[Tensor], moves: ShiftFlip | None) -> None:
        """Raises ConfigError where the data does not fit into what is free."""
        each = float(sum(part.nbytes for part in example))
        if moves is not None:
            copies, high, wide = size(example[0].shape, moves)
            _, height, width, _ = example[0].shape
            each += example[0].nbytes * copies * high * wide / (height * width)  # beside what was read, where that is moved
        needed, free = each * len(data), load_all.free(self.device)
        if free is not None and needed > free and type(data) is not TensorDataset:
            room = f"{self.device} has {free / 1e9:.1f} GB free"
            raise ConfigError(f"resident: the data takes {needed / 1e9:.1f} GB, and {room}; leave resident out")

    def _read(self, data: Any, example: list[Tensor], rule: BadSampleRule) -> tuple[list[Tensor], list[UnreadableSample]]:
        since = perf_counter()
        if self.cache is None or not hasattr(data, "fingerprint"):
            found, bad, who = load_all.read(data, example, rule)
        else:
            of = data.fingerprint()
            file = tensor_cache.cache_directory(self.cache) / f"{of}.safetensors"
            like = [torch.empty(len(data), *part.shape[1:], dtype=part.dtype, device="meta") for part in example]
            kept = tensor_cache.load(file, of, like)
            if kept is not None:
                self.origin.append(f"from {file.parent}")
                return kept, []
            found, bad, who = load_all.read(data, example, rule)
            if bad:  # a run that shall not go on without them must find out
                self.origin.append("not kept, as some of it could not be read")
            else:
                tensor_cache.save(file, of, found)
                self.origin.append(f"kept in {file.parent}")
        if who:
            self.readings.append(f"{len(data):,} samples in {perf_counter() - since:.1f} s by {who}")
        return found, bad

    def plan_notes(self) -> Mapping[str, str]:
        shelf = self.shelves[0] if self.shelves else None
        if shelf is None:
            return {}
        total = sum(shelf.bytes for shelf in self.shelves)
        size = f"{total / 1e6:,.0f} MB" if total >= 1e6 else f"{total / 1e3:,.0f} kB"
        where = "on this machine" if self.device.type == "cpu" else f"of {self.device}"
        found = {"resident": ", ".join([f"{size} {where}", *dict.fromkeys(self.origin)])}
        if self.readings:
            found["read"] = "; ".join(self.readings)
        if shelf.moves is not None:
            moves = shelf.moves
            edge = {"black": "black", "reflect": "reflected"}[moves.edge]
            moved = f"moved by up to {moves.pad} pixel{'s' * (moves.pad > 1)}, {edge} at the edge; " if moves.pad else ""
            found["pictures"] = f"{moved}mirrored: {moves.flip}"
        return found

    def ineffective_settings(self, run: Run) -> list[str]:
        found = []
        moves = self.shelves[0].moves if self.shelves else None
        if self.changed("edge") and (moves is None or not moves.pad):
            found.append("resident.edge has no effect: the pictures are not moved; set resident.pad")
        if self.cache is not None and not self.origin:
            found.append("resident.cache has no effect: the data has no fingerprint() by which to find it again")
        return found

    def close(self) -> None:
        self.shelves = []
