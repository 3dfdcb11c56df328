"""Image folder: pictures with their classes, as the samples of one split."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from accel.data.cache.caching_store import CachingStore
from accel.data.codecs import crops
from accel.data.codecs.image_reader import PILLOW_READER, ImageReader
from accel.data.codecs.picture import Picture, WriteCrop
from accel.data.datasets import batch_crops
from accel.data.datasets.folder_advice import advice
from accel.data.datasets.several_pictures import fill_several, write_mirrored
from accel.data.datasets.shift_flip import ShiftFlip
from accel.data.datasets.store_notes import store_notes
from accel.data.file_access import file_status
from accel.data.store import Files, Store
from accel.errors import ConfigError

__all__ = ["AugmentedFolder", "Crop", "Folder"]

Crop = Literal["pad", "resized", "none"]
"""The part of a picture that training sees: `pad`, `resized` or `none` (`AugmentedFolder`)."""


class Folder(Dataset[tuple[Tensor, int]]):
    """Pictures of one split, each as its centred square, (side, side, 3) uint8, with the number of its class.

    Args:
        folder: holds one folder per class; or a store to read from.
        classes: their names in order; a label is a position in this list.
        side: of the squares, in pixels.
        share: of the picture's shorter side that the centred square shows.
        reader: decodes and resamples pictures.

    Raises:
        ConfigError: if a class has no pictures; or, when it is read, if a picture cannot be decoded.
    """

    def __init__(
        self, folder: Path | Store, classes: list[str], side: int, share: float = 1.0, reader: ImageReader = PILLOW_READER
    ) -> None:
        self.classes, self.side, self.share, self.reader = classes, side, share, reader
        self.shape, self.dtype = (side, side, 3), np.uint8
        self.moves_after = False
        """Whether a sample is moved or mirrored once it is written (`move`), and draws its random numbers then."""
        self.given_store = None if isinstance(folder, Path | Files) else folder
        self.store: Store = Files(folder, classes) if isinstance(folder, Path) else folder

    @property
    def shows_fixed_square(self) -> bool:
        """Whether every epoch shows the same part of a picture, before it is moved and mirrored: `fill_square`."""
        return True

    def over(self, store: Store) -> Self:
        """Return the same data set, reading its pictures from another store: samples, order and randomness stay the same."""
        twin = copy(self)
        twin.store = store
        return twin

    @property
    def files(self) -> list[str]:
        """Names of the pictures, in order."""
        return [self.store.name(index) for index in range(len(self))]

    @property
    def labels(self) -> list[int]:
        """Numbers of the pictures' classes, in order."""
        return [self.store.label(index) for index in range(len(self))]

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        out = np.empty(self.shape, self.dtype)
        self.fill_square(index, out)
        return torch.from_numpy(out), self.store.label(index)

    def plan_notes(self) -> dict[str, str]:
        """Return the decoder and resampler for the plan, and the store if the user gave one."""
        notes = {"pictures": self.reader.describe()}
        if self.given_store is not None and self.store is self.given_store:  # which no plugin says
            notes["store"] = getattr(self.given_store, "describe", lambda: type(self.given_store).__name__)()
        return notes | store_notes(self.store, self.classes)

    def advice(self) -> list[str]:
        """Return suggestions that might make the pictures come faster, for a run that waits for them."""
        return advice(self.store, self.reader, self.side, box=False)

    def fingerprint(self) -> str:
        """Return a digest of all that pictures and labels depend on: 64 hexadecimal digits. Other files or sizes change it."""
        digest = sha256(f"2 {self.side} {self.share} {self.reader.version()} {self.store.fingerprint()} {self.labels}".encode())
        for file in getattr(self.store, "files", []):
            # another file may have the size and the time of its predecessor, but not the change time
            digest.update(f"\0{file}\0{file_status(file, 'st_mtime_ns', 'st_ctime_ns')}".encode(errors="surrogateescape"))
        digest.update(getattr(self.store, "stamp", "").encode())
        return digest.hexdigest()

    def picture(self, index: int) -> Picture:
        """Return picture `index`, which is decoded as far as it is shown."""
        return self.reader.open(self.store.get(index), self.store.name(index), self.store.encoding)

    def draw_box(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[crops.Box, bool]:
        """Return the box that is shown of a picture of `size`, and whether it is mirrored.

        Args:
            size: width and height of the picture, in pixels.
            rng: of the sample in this epoch.
        """
        return crops.centre(*size, self.share), False

    @property
    def can_fill_all(self) -> bool:
        """Whether `fill_all` can be called: the pictures are stored as pixels in the size of training, and shown whole."""
        return self.share == 1.0 and getattr(self.store, "size", None) == (self.side, self.side)

    def fill_all(self, keys: list[int], seed: int, epoch: int, out: NDArray[np.uint8]) -> list[int]:
        """Write samples `keys` into `out`, (n, side, side, 3) uint8, as `fill` writes each of them; return their labels."""
        return self.read_all(keys, out)

    def read_all(self, keys: list[int], out: NDArray[np.uint8]) -> list[int]:
        """Write the pictures of `self[key]` for all `keys` into `out`, (n, side, side, 3) uint8; return their labels.

        It can be called if `can_fill_all`.
        """
        out[...] = self.store.gather(keys)  # type: ignore[attr-defined]
        return [self.store.label(key) for key in keys]

    def fill_each(self, keys: list[int], seed: int, epoch: int, out: NDArray[np.uint8]) -> Iterator[int]:
        """Write samples `keys` one after another into `out`, (n, side, side, 3) uint8, as `fill` does; yield the label of each."""
        return fill_several(self, keys, seed, epoch, out)

    def fill_square(self, index: int, out: NDArray[np.uint8]) -> None:
        """Write the centred square of picture `index` into `out`, (side, side, 3) uint8."""
        if isinstance(self.store, CachingStore):
            self.store.show(index, out, self._decode_square)
        else:
            self._decode_square(index, out)

    def _decode_square(self, index: int, out: NDArray[np.uint8]) -> None:
        """Decode picture `index`, and write its centred square into `out`."""
        picture = self.picture(index)
        picture.resized_crop(crops.centre(*picture.size, self.share), self.side, out)

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.uint8]) -> int:
        """Write sample `index` into `out`, (side, side, 3) uint8; return its label."""
        if self.shows_fixed_square:
            self.fill_square(index, out)
        else:
            self.prepare(self.picture(index), rng)(out)
        if self.moves_after:
            self.move(out, rng)
        return self.store.label(index)

    def prepare(self, picture: Picture, rng: np.random.Generator) -> WriteCrop:
        """Return the function that writes the sample of `picture` into given memory, but for what comes after it (`move`)."""
        return picture.prepare(crops.centre(*picture.size, self.share), self.side)

    def move(self, out: NDArray[np.uint8], rng: np.random.Generator) -> None:
        """Move and mirror a sample that is written, `out`; called if `moves_after`."""


class AugmentedFolder(Folder):
    """Pictures of one split as training sees them: another crop, and half of them mirrored, in every epoch.

    Args:
        folder: holds one folder per class; or a store to read from.
        classes: their names in order; a label is a position in this list.
        side: of the squares, in pixels.
        crop: `pad` moves the centred square by up to an eighth of its side; `resized` takes a box of random area and shape;
            `none` takes the centred square.
        flip: whether half of the pictures are mirrored left to right.
        reader: decodes and resamples pictures.
    """

    def __init__(
        self, folder: Path | Store, classes: list[str], side: int, crop: Crop, flip: bool, reader: ImageReader = PILLOW_READER
    ) -> None:
        super().__init__(folder, classes, side, reader=reader)
        self.crop, self.flip = crop, flip
        self.pad = side // 8 if crop == "pad" else 0
        """Pixels that a picture may move. If 0, as in a picture of 7 pixels, no number is drawn for it (`ShiftFlip`)."""
        self.moves_after = crop != "resized" and bool(self.pad or flip)

    @property
    def shows_fixed_square(self) -> bool:
        return self.crop != "resized"

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Return sample `index`, (side, side, 3) uint8, and its label, with its random numbers of this epoch."""
        out = np.empty(self.shape, self.dtype)
        return torch.from_numpy(out), self.fill(index, rng, out)

    def prepare(self, picture: Picture, rng: np.random.Generator) -> WriteCrop:
        if self.crop != "resized":
            return super().prepare(picture, rng)
        box, mirrored = self.draw_box(picture.size, rng)
        write = picture.prepare(box, self.side)
        return partial(write_mirrored, write, self.reader) if mirrored else write

    def move(self, out: NDArray[np.uint8], rng: np.random.Generator) -> None:
        if self.pad:
            out[...] = crops.padded(out, self.pad, rng)
        if self.flip and rng.random() < 0.5:
            self.reader.mirror(out)

    def draw_box(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[crops.Box, bool]:
        """Return the box that is shown, and whether it is mirrored. For the crop `pad`, the move comes after it."""
        box = crops.random_resized(*size, rng) if self.crop == "resized" else crops.centre(*size)
        return box, self.flip and rng.random() < 0.5

    @property
    def can_fill_all(self) -> bool:
        return self.crop != "resized" and super().can_fill_all

    def fill_all(self, keys: list[int], seed: int, epoch: int, out: NDArray[np.uint8]) -> list[int]:
        labels = self.read_all(keys, out)
        drawn = batch_crops.random_words(seed, epoch, keys)
        if self.pad:
            out[...] = batch_crops.shifted(out, self.pad, drawn[:, 0])
        if self.flip:
            batch_crops.flipped(out, drawn[:, int(self.pad > 0)], self.reader)
        return labels

    def advice(self) -> list[str]:
        return advice(self.store, self.reader, self.side, box=self.crop == "resized")

    def moves(self) -> ShiftFlip:
        """Return the augmentation that `sample` applies to `self[index]`, for loaders that keep the pictures and draw for many.

        Raises:
            ConfigError: for the crop `resized`, for which no picture of one size can be kept.
        """
        if self.crop == "resized":
            raise ConfigError(
                "resident keeps each picture in one size, and task.crop=resized cuts its boxes out of the whole of it; "
                "set task.crop=pad, or leave resident out"
            )
        return ShiftFlip(self.pad, "random" if self.flip else "none")
