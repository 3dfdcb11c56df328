"""The pictures that every arm reads, so many times over that an epoch is long, as epochs are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from accel.data.codecs.crops import random_resized
from accel.data.store import Files, Record, Store, class_names

TIMES = 64
"""How often the photographs come in an epoch. A loader that starts each epoch anew does so as rarely as with a large data set."""


def found(folder: Path) -> tuple[list[str], list[int]]:
    """The files of class folders, and their labels."""
    files = Files(folder, class_names(folder))
    return list(files.files), files.labels.tolist()


def window(width: int, height: int) -> tuple[int, int, int, int]:
    """A random box by Python's global random numbers, for peers that bring none: left, top, width, height."""
    left, top, right, bottom = random_resized(width, height, np.random.default_rng(random.getrandbits(64)))
    return int(left), int(top), int(right - left), int(bottom - top)


class Repeated:
    """A store whose records come several times over."""

    def __init__(self, store: Store, times: int) -> None:
        self.store, self.times, self.once = store, times, len(store)
        self.encoding, self.mapped = store.encoding, getattr(store, "mapped", False)

    def __len__(self) -> int:
        return self.times * self.once

    def get(self, index: int) -> Record:
        return self.store.get(index % self.once)

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        return self.store.get_many([index % self.once for index in indices])

    def label(self, index: int) -> int:
        return self.store.label(index % self.once)

    def name(self, index: int) -> str:
        return self.store.name(index % self.once)

    def fingerprint(self) -> str:
        return f"{self.store.fingerprint()} {self.times}"
