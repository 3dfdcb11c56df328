"""Pictures with their classes, as the samples of one split."""

from __future__ import annotations

from copy import copy
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from accel.data.cache.caching_store import Keeping
from accel.data.codecs import crops
from accel.data.codecs.image_reader import PLAIN, Picture, Reader
from accel.data.datasets import batch_crops
from accel.data.datasets.folder_advice import advice
from accel.data.datasets.shift_flip import ShiftFlip
from accel.data.store import Files, Store, status
from accel.errors import ConfigError

__all__ = ["Augmented", "Crop", "Folder"]

Crop = Literal["pad", "resized", "none"]


class Folder(Dataset[tuple[Tensor, int]]):
    """The pictures of one split, each as its centred square, (side, side, 3) uint8, with the number of its class.

    Args:
        folder: holds one folder per class; or a store to read from.
        classes: their names in order; a label is a position in this list.
        side: of the pictures that come out, in pixels.
        share: how much of the shorter side the centred square shows.
        reader: decodes and resamples them.

    Raises:
        ConfigError: where a class has no pictures, or, when it is read, a picture cannot be decoded.
    """

    def __init__(self, folder: Path | Store, classes: list[str], side: int, share: float = 1.0, reader: Reader = PLAIN) -> None:
        self.classes, self.side, self.share, self.reader = classes, side, share, reader
        self.shape, self.dtype = (side, side, 3), np.uint8
        self.given = None if isinstance(folder, Path) else folder
        self.store: Store = Files(folder, classes) if isinstance(folder, Path) else folder

    @property
    def fixed(self) -> bool:
        """Whether of each picture the same part is shown in every epoch, before it is moved and mirrored: `square`."""
        return True

    def over(self, store: Store) -> Self:
        """The same data set, reading its pictures from another store: samples, order and randomness stay what they are."""
        twin = copy(self)
        twin.store = store
        return twin

    @property
    def files(self) -> list[str]:
        """What each picture is called."""
        return [self.store.name(index) for index in range(len(self))]

    @property
    def labels(self) -> list[int]:
        """The number of each picture's class."""
        return [self.store.label(index) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        out = np.empty(self.shape, self.dtype)
        self.square(index, out)
        return torch.from_numpy(out), self.store.label(index)

    def plan_notes(self) -> dict[str, str]:
        """Who decodes and who resamples, and what is read where that is no folder, for the plan."""
        found = {"pictures": self.reader.describe()}
        if self.given is not None and self.store is self.given:  # which no plugin says
            found["store"] = getattr(self.given, "describe", lambda: type(self.given).__name__)()
        return found

    def advice(self) -> list[str]:
        """What might make the pictures come faster, where a run waits for them."""
        return advice(self, box=False)

    def fingerprint(self) -> str:
        """What the pictures and labels are a function of, as 64 hexadecimal digits: other files or another size give another."""
        digest = sha256(f"2 {self.side} {self.share} {self.reader.version()} {self.store.fingerprint()} {self.labels}".encode())
        files: list[str] = getattr(self.store, "files", [])
        for file in files:
            # another file may have the size and the time of its predecessor, but not the change time
            digest.update(f"\0{file}\0{status(file, 'st_mtime_ns', 'st_ctime_ns')}".encode(errors="surrogateescape"))
        digest.update(getattr(self.store, "stamp", "").encode())
        return digest.hexdigest()

    def picture(self, index: int) -> Picture:
        """The picture, to be decoded as far as it is shown."""
        return self.reader.open(self.store.get(index), self.store.name(index), self.store.encoding)

    def look(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[crops.Box, bool]:
        """The box that is shown of a picture of `size` (width, height), and whether it is mirrored; `rng` is the sample's."""
        return crops.centre(*size, self.share), False

    @property
    def at_once(self) -> bool:
        """Whether `fill_all` can be called: the pictures are stored as pixels in the size of training, and shown whole."""
        return self.share == 1.0 and getattr(self.store, "size", None) == (self.side, self.side)

    def fill_all(self, keys: list[int], seed: int, epoch: int, out: NDArray[np.uint8]) -> list[int]:
        """Samples `keys`, as `fill` writes each of them, into `out`, (n, side, side, 3) uint8; returns their labels."""
        return self.read_all(keys, out)

    def read_all(self, keys: list[int], out: NDArray[np.uint8]) -> list[int]:
        """The same of what `self[key]` gives; where `at_once`."""
        out[...] = self.store.gather(keys)  # type: ignore[attr-defined]
        return [self.store.label(key) for key in keys]

    def square(self, index: int, out: NDArray[np.uint8]) -> None:
        """The centred square of picture `index`, written into `out`, (side, side, 3) uint8."""
        if isinstance(self.store, Keeping):
            self.store.show(index, out, self._square)
        else:
            self._square(index, out)

    def _square(self, index: int, out: NDArray[np.uint8]) -> None:
        picture = self.picture(index)
        picture.show(crops.centre(*picture.size, self.share), self.side, out)

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.uint8]) -> int:
        """Sample `index`, written into `out`, (side, side, 3) uint8; returns its label."""
        self.square(index, out)
        return self.store.label(index)


class Augmented(Folder):
    """The same pictures as training sees them: another crop, and half of them mirrored, in every epoch.

    Args:
        crop: `pad` moves the centred square by up to an eighth of its side; `resized` takes a box of random area and shape;
            `none` takes the centred square.
        flip: whether half of the pictures are mirrored left to right.
        reader: decodes and resamples them.
    """

    def __init__(self, folder: Path | Store, classes: list[str], side: int, crop: Crop, flip: bool, reader: Reader = PLAIN) -> None:
        super().__init__(folder, classes, side, reader=reader)
        self.crop, self.flip = crop, flip
        self.pad = side // 8 if crop == "pad" else 0
        """How many pixels a picture may move; where that is none, as in one of 7 pixels, no number is drawn for it (`Moves`)."""

    @property
    def fixed(self) -> bool:
        return self.crop != "resized"

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Sample `index`, with its random numbers of this epoch."""
        out = np.empty(self.shape, self.dtype)
        label = self.fill(index, rng, out)
        return torch.from_numpy(out), label

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.uint8]) -> int:
        if self.crop == "resized":
            picture = self.picture(index)
            box, mirrored = self.look(picture.size, rng)
            picture.show(box, self.side, out)
        else:
            self.square(index, out)
            if self.pad:
                out[...] = crops.padded(out, self.pad, rng)
            mirrored = self.flip and rng.random() < 0.5
        if mirrored:
            self.reader.mirror(out)
        return self.store.label(index)

    def look(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[crops.Box, bool]:
        """For every crop but `pad`, whose moves come after."""
        box = crops.random_resized(*size, rng) if self.crop == "resized" else crops.centre(*size)
        return box, self.flip and rng.random() < 0.5

    @property
    def at_once(self) -> bool:
        return self.crop != "resized" and super().at_once

    def fill_all(self, keys: list[int], seed: int, epoch: int, out: NDArray[np.uint8]) -> list[int]:
        labels = self.read_all(keys, out)
        drawn = batch_crops.random_words(seed, epoch, keys)
        if self.pad:
            out[...] = batch_crops.shifted(out, self.pad, drawn[:, 0])
        if self.flip:
            batch_crops.flipped(out, drawn[:, int(self.pad > 0)], self.reader)
        return labels

    def advice(self) -> list[str]:
        return advice(self, box=self.crop == "resized")

    def moves(self) -> ShiftFlip:
        """What `sample` does to the picture `self[index]`, for who keeps the pictures and draws for many at once.

        Raises:
            ConfigError: where it does something else, which no picture of one size can be kept for.
        """
        if self.crop == "resized":
            raise ConfigError(
                "resident keeps each picture in one size, and task.crop=resized cuts its boxes out of the whole of it; "
                "set task.crop=pad, or leave resident out"
            )
        return ShiftFlip(self.pad, "random" if self.flip else "none")
