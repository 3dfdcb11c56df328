"""Pictures in class folders, `<folder>/<class>/**/*.jpg`, as torchvision's ImageFolder has them."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from accel.data import crops
from accel.data.decode import SUFFIXES, decode, resample
from accel.data.moves import Moves
from accel.errors import ConfigError

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
        self.side, self.share = side, share
        self.shape, self.dtype = (side, side, 3), np.uint8
        self.files: list[str] = []
        self.labels: list[int] = []
        for label, name in enumerate(classes):
            found = pictures(folder / name)
            if not found:
                kinds = ", ".join(sorted(SUFFIXES))
                raise ConfigError(f"{folder / name} has no pictures ({kinds}); fill the folder or take it away")
            self.files += found
            self.labels += [label] * len(found)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = decode(self.read(index), self.files[index])
        box = crops.centre(*picture.size, self.share)
        return torch.from_numpy(resample(picture, box, self.side)), self.labels[index]

    def fingerprint(self) -> str:
        """What the pictures and labels are a function of, as 64 hexadecimal digits: other files or another size give another."""
        digest = sha256(f"1 {self.side} {self.share}".encode())
        for file, label in zip(self.files, self.labels, strict=True):
            found = os.stat(file)
            digest.update(f"\0{file}\0{label} {found.st_size} {found.st_mtime_ns}".encode())
        return digest.hexdigest()

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.uint8]) -> int:
        """Sample `index`, written into `out`, (side, side, 3) uint8; returns its label."""
        pixels, label = self[index]
        out[...] = pixels.numpy()
        return label

    def read(self, index: int) -> bytes:
        """The encoded picture."""
        try:
            return Path(self.files[index]).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read the picture {self.files[index]}: {error.strerror}") from None


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

    def fill(self, index: int, rng: np.random.Generator, out: NDArray[np.uint8]) -> int:
        pixels, label = self.sample(index, rng)
        out[...] = pixels.numpy()
        return label

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Sample `index`, with its random numbers of this epoch."""
        picture = decode(self.read(index), self.files[index])
        resized = self.crop == "resized"
        box = crops.random_resized(*picture.size, rng) if resized else crops.centre(*picture.size)
        pixels = resample(picture, box, self.side)
        if self.crop == "pad":
            pixels = crops.padded(pixels, self.side // 8, rng)
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1].copy()  # torch takes no negative stride, not even of a side of one pixel
        return torch.from_numpy(np.ascontiguousarray(pixels)), self.labels[index]

    def moves(self) -> Moves:
        """What `sample` does to the picture `self[index]`, for who keeps the pictures and draws for many at once.

        Raises:
            ConfigError: where it does something else, which no picture of one size can be kept for.
        """
        if self.crop == "resized":
            raise ConfigError(
                "resident keeps each picture in one size, and task.crop=resized cuts its boxes out of the whole of it; "
                "set task.crop=pad, or leave resident out"
            )
        return Moves(self.side // 8 if self.crop == "pad" else 0, "random" if self.flip else "none")


def class_names(folder: Path) -> list[str]:
    """The folders in `folder`, sorted; hidden ones left out."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def pictures(folder: Path) -> list[str]:
    """The pictures anywhere under `folder`, sorted, so that an index means the same on every machine."""
    tree = os.walk(folder, followlinks=True)
    return sorted(os.path.join(place, name) for place, _, names in tree for name in names if is_picture(name))


def is_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith(".")
