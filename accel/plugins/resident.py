"""Resident: a loader that keeps the whole data set in the device's memory.

Every sample is read once, before the first update. From then on a batch is one
gather in memory, cropped and mirrored, without Python for each sample. Order
and random numbers are those of the plain loader, so the model sees the same
pictures, bit for bit.

Helps   data that fits: CIFAR-10 trains without waiting for a single picture.
Hurts   data that does not fit, which is refused. Data whose `__getitem__` draws
        random numbers is read by the plain loader, with a warning: kept, each
        sample would be the same in every epoch.
Costs   memory: the pictures with a border for shifts, twice if they are
        mirrored. The time to read all of it at the start, by all cores, which
        the plan tells; with resident.cache only the first time.
Source  Jordan, 94 % on CIFAR-10 in 3.29 seconds on a single GPU, arXiv
        2404.00498 (alternating flip, padded crop on the device); random numbers
        by Philox, Salmon et al., 2011.
Exact   A batch is that of the plain loader to the last bit, while flip, pad and
        edge are left to the task. A data set that defines `sample(index, rng)`
        declares its random shifts and flips by `moves()`
        (`accel.data.datasets.shift_flip.ShiftFlip`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, TensorDataset, default_collate

from accel.data.batches.bad_samples import BadSampleRule, UnreadableSample
from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.cache import tensor_cache
from accel.data.datasets.shift_flip import ShiftFlip, frame_shape
from accel.data.loaders import load_all
from accel.data.loaders.device_batches import DeviceBatches
from accel.data.randomness.sample_randomness import SampleRandomness
from accel.errors import ConfigError
from accel.parts import Loader
from accel.values import Whole

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Resident"]


@dataclass(eq=False)
class Resident(Loader):
    """Loader that keeps the whole data set in the device's memory.

    Args:
        flip: pictures that training mirrors: task as the task does; none; random half of them; alternate each in every other epoch.
        pad: pixels that training moves a picture by, at most, up, down, left and right; null as the task does.
        edge: border of a moved picture: black, or the picture reflected.
        cache: directory that keeps the data set for later runs; auto is in the user's cache directory; null reads it in each run.
    """

    flip: Literal["task", "none", "random", "alternate"] = "task"
    pad: Whole | None = None
    edge: Literal["black", "reflect"] = "black"
    cache: str | None = None

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.device = run.device
        self.device_batches: list[DeviceBatches] = []
        self.cache_notes: list[str] = []
        self.read_notes: list[str] = []
        self.drawing: list[str] = []
        """The splits whose samples draw random numbers."""

    def open(self, data: Any, train: bool) -> Batches:
        """Return the batches of a map-style data set, after reading the whole of it; those of the plain loader if it draws.

        Raises:
            ConfigError: for ready batches, a stream, samples of several shapes, unknown random changes, or too much data.
        """
        plain = super().open(data, train)
        if not isinstance(plain, MapBatches):
            kind = "a stream of samples" if isinstance(data, IterableDataset) else "ready batches"
            raise ConfigError(f"resident needs a map-style data set, and the data is {kind}; pass the data set itself")
        if plain.count == 0:
            return plain
        if plain.collate is not default_collate:
            kind = type(data).__name__ if self.batch_options.collate is None else "the run"
            raise ConfigError(f"resident makes batches by itself, and {kind} has a collate of its own; leave resident out")
        rule = self.rule(train)
        data = plain.data  # a list is one of samples
        first, draws = plain.randomness.attempt(lambda: load_all.first_sample(data, rule))
        if draws:
            return self._step_back(plain, train)
        parts, form = first.pop()
        moves = self._resolve_moves(data, parts[0], train)
        self._check_memory(data, parts, moves)
        try:
            read, draws = plain.randomness.attempt(lambda: self._read(data, parts, rule, plain.randomness))
        except load_all.RandomSamples:
            draws = True
        if draws:
            return self._step_back(plain, train)
        samples, bad = read.pop()
        batches = DeviceBatches(
            samples, form, moves, self.batch_size, self.seed, train, self.device, plain.share, rule, bad, self.order
        )
        batches.counter = self.counter
        self.device_batches.append(batches)
        return batches

    def _step_back(self, plain: MapBatches, train: bool) -> MapBatches:
        """Return the plain loader's batches of a data set whose samples are others whenever they are read."""
        self.drawing.append("training" if train else self.split)
        return plain

    def _resolve_moves(self, data: Any, example: Tensor, train: bool) -> ShiftFlip | None:
        """Return shift and flip of the pictures: as the data set declares, and in training as the settings change them."""
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
            rule = "resident.flip and resident.pad need pictures of (height, width, 1 to 4 channels)"
            raise ConfigError(f"{rule}, and the data is {shape}; leave both out")
        if moves.edge == "reflect" and moves.pad >= min(example.shape[1:3]):
            raise ConfigError(
                f"resident.edge=reflect needs a pad below the pictures' side, not {moves.pad}; set a smaller resident.pad"
            )
        return moves

    def _check_memory(self, data: Any, example: list[Tensor], moves: ShiftFlip | None) -> None:
        """Raise ConfigError if the data does not fit into the free memory of the device."""
        sample_bytes = float(sum(part.nbytes for part in example))
        if moves is not None:
            copies, padded_height, padded_width = frame_shape(example[0].shape, moves)
            _, height, width, _ = example[0].shape
            # the padded copies lie beside the pictures as they were read
            sample_bytes += example[0].nbytes * copies * padded_height * padded_width / (height * width)
        needed, free = sample_bytes * len(data), load_all.free_memory(self.device)
        if free is not None and needed > free and type(data) is not TensorDataset:
            memory = f"{self.device} has {free / 1e9:.1f} GB free"
            raise ConfigError(f"resident: the data takes {needed / 1e9:.1f} GB, and {memory}; leave resident out")

    def _read(
        self, data: Any, example: list[Tensor], rule: BadSampleRule, randomness: SampleRandomness
    ) -> tuple[list[Tensor], list[UnreadableSample]]:
        """Return all samples, a tensor for each member, and the samples that could not be read; from the cache if it has them."""
        start, handles = perf_counter(), [] if randomness.trusted else randomness.handles
        if self.cache is None or not hasattr(data, "fingerprint"):
            samples, bad, readers = load_all.load_samples(data, example, rule, handles)
        else:
            key = data.fingerprint()
            file = tensor_cache.cache_directory(self.cache) / f"{key}.safetensors"
            like = [torch.empty(len(data), *part.shape[1:], dtype=part.dtype, device="meta") for part in example]
            cached = tensor_cache.load(file, key, like)
            if cached is not None:
                self.cache_notes.append(f"from {file.parent}")
                return cached, []
            samples, bad, readers = load_all.load_samples(data, example, rule, handles)
            if bad:  # a later run that must not go on without these samples has to meet them
                self.cache_notes.append("not kept, as some of it could not be read")
            else:
                tensor_cache.save(file, key, samples)
                self.cache_notes.append(f"kept in {file.parent}")
        if readers:
            self.read_notes.append(f"{len(data):,} samples in {perf_counter() - start:.1f} s by {readers}")
        return samples, bad

    def plan_notes(self) -> Mapping[str, str]:
        if not self.device_batches:
            return {}
        moves = self.device_batches[0].shift_flip
        total = sum(batches.bytes for batches in self.device_batches)
        size = f"{total / 1e6:,.0f} MB" if total >= 1e6 else f"{total / 1e3:,.0f} kB"
        where = "on this machine" if self.device.type == "cpu" else f"of {self.device}"
        notes = {"resident": ", ".join([f"{size} {where}", *dict.fromkeys(self.cache_notes)])}
        if self.read_notes:
            notes["read"] = "; ".join(self.read_notes)
        if moves is not None:
            edge = {"black": "black", "reflect": "reflected"}[moves.edge]
            shift = f"moved by up to {moves.pad} pixel{'s' * (moves.pad > 1)}, {edge} at the edge; " if moves.pad else ""
            notes["pictures"] = f"{shift}mirrored: {moves.flip}"
        return notes

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = [
            f"resident has no effect on the {split} data, whose samples draw random numbers: kept, each would be the same in every "
            "epoch; leave resident out, or define sample(index, rng) and moves()"
            for split in self.drawing
        ]
        moves = self.device_batches[0].shift_flip if self.device_batches else None
        if self.changed("edge") and (moves is None or not moves.pad):
            messages.append("resident.edge has no effect: the pictures are not moved; set resident.pad")
        if self.cache is not None and not self.cache_notes:
            messages.append("resident.cache has no effect: the data has no fingerprint() by which to find it again")
        return messages

    def close(self) -> None:
        self.device_batches = []
