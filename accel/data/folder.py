"""Pictures with their classes, as the samples of one split."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from accel.data import crops
from accel.data.decode import decoded, resample
from accel.data.store import Files, Store

if TYPE_CHECKING:
    from PIL.Image import Image

Crop = Literal["pad", "resized", "none"]


class Folder(Dataset[tuple[Tensor, int]]):
    """The pictures of one split, each as its centred square, (side, side, 3) uint8, with the number of its class.

    Args:
        folder: holds one folder per class.
        classes: their names in order; a label is a position in this list.
        side: of the pictures that come out, in pixels.
        share: how much of the shorter side the centred square shows.

    Raises:
        ConfigError: where a class has no pictures, or, when it is read, a picture cannot be decoded.
    """

    def __init__(self, folder: Path, classes: list[str], side: int, share: float = 1.0) -> None:
        self.classes, self.side, self.share = classes, side, share
        self.store: Store = Files(folder, classes)

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
        picture = self.picture(index)
        box = crops.centre(*picture.size, self.share)
        return torch.from_numpy(resample(picture, box, self.side)), self.store.label(index)

    def picture(self, index: int) -> Image:
        """The whole picture, decoded."""
        return decoded(self.store.get(index), self.store.name(index), self.store.encoding)


class Augmented(Folder):
    """The same pictures as training sees them: another crop, and half of them mirrored, in every epoch.

    Args:
        crop: `pad` moves the centred square by up to an eighth of its side; `resized` takes a box of random area and shape;
            `none` takes the centred square.
        flip: whether half of the pictures are mirrored left to right.
    """

    def __init__(self, folder: Path, classes: list[str], side: int, crop: Crop, flip: bool) -> None:
        super().__init__(folder, classes, side)
        self.crop, self.flip = crop, flip

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Sample `index`, with its random numbers of this epoch."""
        picture = self.picture(index)
        resized = self.crop == "resized"
        box = crops.random_resized(*picture.size, rng) if resized else crops.centre(*picture.size)
        pixels = resample(picture, box, self.side)
        if self.crop == "pad":
            pixels = crops.padded(pixels, self.side // 8, rng)
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1].copy()  # torch takes no negative stride, not even of a side of one pixel
        return torch.from_numpy(np.ascontiguousarray(pixels)), self.store.label(index)
