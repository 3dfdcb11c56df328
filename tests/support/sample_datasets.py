"""Data sets of every kind that a loader meets, with samples that tell where they come from."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from accel.data.sampling import sample_rng
from tests.support.waiting import DEADLINE

SAMPLES = 23
"""Six batches of four, the last of three."""


class Filled:
    """Records that are written into given memory; it has no other way to be read."""

    shape, dtype = (2, 3), np.float32

    def __len__(self) -> int:
        return SAMPLES

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.float32]) -> int:
        out[...] = index + rng.random(self.shape)
        return index % 2


class Bare(Filled):
    """The same without labels."""

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.float32]) -> None:  # type: ignore[override]
        super().fill(index, rng, out)


class Each(Filled):
    """The same, several one after another too."""

    def fill_each(self, keys: list[int], seed: int, epoch: int, out: NDArray[np.float32]) -> Iterator[int]:
        for key, row in zip(keys, out, strict=False):
            yield self.fill(key, sample_rng(seed, epoch, key), row)


class Drawn(Dataset[tuple[Tensor, int]]):
    """Samples that are given their random numbers."""

    def __len__(self) -> int:
        return SAMPLES

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        return torch.from_numpy(index + rng.random((2, 3), dtype=np.float32)), index % 2


class Plain(Dataset[dict[str, Any]]):
    """Dicts, with a text in each."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.full((2, 3), float(index)), "name": str(index), "y": index % 2}


class Padded(Drawn):
    """Makes its own batches."""

    def collate(self, samples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        return {"x": torch.stack([x for x, _ in samples]), "n": torch.tensor([len(samples)])}


class Global(Dataset[tuple[Tensor, int]]):
    """Noise from each of the global generators."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.randn(2, 3) + random.random() + np.random.rand() + index, index % 2


class Wide(Filled):
    """Records of 12 kB, 400 of them."""

    shape, dtype = (64, 64, 3), np.uint8  # type: ignore[assignment]

    def __len__(self) -> int:
        return 400

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[Any]) -> int:
        out[...] = index % 256
        return index


KINDS: list[type] = [Filled, Bare, Each, Drawn, Plain, Padded]


def readers() -> list[threading.Thread]:
    """Return accel's reading threads that are alive. (torch's own loaders have some that end a little later.)"""
    return [
        thread for thread in threading.enumerate() if thread.name == "accel-reader" or type(thread).__name__ == "BackgroundReader"
    ]


def unfinished_readers() -> list[threading.Thread]:
    """Return accel's reading threads that do not end. One that was told to end may need its time on a busy machine."""
    end = monotonic() + DEADLINE
    for thread in readers():
        thread.join(max(0.0, end - monotonic()))
    return readers()


def md5(batches: Iterable[Any]) -> list[str]:
    """One for each batch, over its structure, kinds and bytes; it keeps no batch."""
    return [hashlib.md5(seen(batch)).hexdigest() for batch in batches]


def seen(value: Any) -> bytes:
    if isinstance(value, Tensor):
        return f"{value.dtype}{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return b"{" + b"".join(key.encode() + seen(inner) for key, inner in value.items()) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b"".join(map(seen, value)) + b"]"
    return repr(value).encode()
