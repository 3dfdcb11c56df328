"""Pictures that the tests draw, and JPEGs of them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SAMPLINGS = ("4:2:0", "4:2:2", "4:4:4", "grey")


def drawing(width: int, height: int, grey: bool = False, seed: int = 0) -> Image.Image:
    """Waves, an edge and noise: something in every frequency, so that a shift by one pixel or a wrong colour shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [127 + 90 * np.sin(x / (3 + channel) + y / 5 + channel) + 30 * (x > y) for channel in range(3)]
    pixels = np.clip(np.stack(waves, 2) + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert("L" if grey else "RGB")


def jpeg(picture: Image.Image, sampling: str = "4:2:0", **more: Any) -> bytes:
    stream = BytesIO()
    if sampling != "grey":
        more["subsampling"] = sampling
    picture.save(stream, "JPEG", **{"quality": 85, **more})
    return stream.getvalue()


def drawn(width: int, height: int, sampling: str = "4:2:0", **more: Any) -> bytes:
    """A JPEG of a drawing."""
    return jpeg(drawing(width, height, sampling == "grey"), sampling, **more)


def pixels(encoded: bytes | bytearray) -> NDArray[np.uint8]:
    """By Pillow, as RGB."""
    with Image.open(BytesIO(encoded)) as picture:
        return np.array(picture.convert("RGB"))


def write_noise(folder: Path, counts: dict[str, int], height: int, width: int, nested: bool = False) -> None:
    """Write `folder/SPLIT/{cat,dog}/N.jpg`, pictures of noise, so many of each class of each split.

    Args:
        folder: holds the splits.
        counts: pictures of each class, by split.
        height: pixels.
        width: pixels.
        nested: whether picture 1 of each class lies in a folder of its own, `more`.
    """
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for name in ("cat", "dog"):
            place = folder / split / name
            (place / "more" if nested else place).mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
                Image.fromarray(noise).save((place / "more" if nested and number == 1 else place) / f"{number}.jpg")


def write_class_folders(root: Path) -> Path:
    """Write six JPEGs of noise, 32 x 32, for each of two classes of a training and a test split, and return the folder."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(6):
                Image.fromarray(rng.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    return root
