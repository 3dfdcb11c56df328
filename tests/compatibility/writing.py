"""The pictures, letters and shards of the fixtures, without accel."""

from __future__ import annotations

import os
import random
import string
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.compatibility.unpacked import WHEN
from tests.data.shards.writing import add, example, frame

SPLITS = {"train": 12, "val": 4}


def data() -> None:
    """Writes `pictures`, `flawed` (with one that cannot be read), `few`, and `letters`."""
    rng = np.random.default_rng(0)
    draw(Path("pictures"), SPLITS, rng)
    draw(Path("flawed"), SPLITS, rng)
    draw(Path("few"), {"train": 2, "val": 1}, rng)
    Path("flawed/train/dog/03.jpg").write_bytes(b"no picture")
    letters = random.Random(0).choices(string.ascii_lowercase + " ", k=2500)
    Path("letters").write_text("".join(letters))
    old(Path("."))


def draw(folder: Path, counts: dict[str, int], rng: np.random.Generator) -> None:
    """Smooth pictures of several sizes, in two classes."""
    for split, count in counts.items():
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                small = Image.fromarray(rng.integers(256, size=(3, 3, 3), dtype=np.uint8))
                picture = small.resize((24 + number % 3, 20), Image.Resampling.BICUBIC)
                picture.save(folder / split / name / f"{number:02}.jpg", quality=85)


def old(folder: Path) -> None:
    """Gives every file in the folder one time of change."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (WHEN, WHEN))


def listed(split: Path) -> Iterator[tuple[str, int, bytes]]:
    """The key of each picture of a split, its label, and its bytes."""
    for path in sorted(split.rglob("*.jpg")):
        key = str(path.relative_to(split))
        yield key, int(key.startswith("dog")), path.read_bytes()


def write_tars(split: Path, target: Path) -> None:
    """Writes `target-0.tar` and `target-1.tar`, as WebDataset has them."""
    pictures = list(listed(split))
    half = len(pictures) // 2
    for shard, some in enumerate((pictures[:half], pictures[half:])):
        with tarfile.open(f"{target}-{shard}.tar", "w") as tar:
            for key, label, content in some:
                add(tar, key, content)
                add(tar, key.replace(".jpg", ".cls"), str(label).encode())


def write_records(split: Path, target: Path) -> None:
    """Writes `target.tfrecord`."""
    stream = BytesIO()
    for key, label, content in listed(split):
        names: dict[str, Any] = {"image__class__label": label, "image__class__text": key[:3], "image__filename": key}
        stream.write(frame(example(**names, image__encoded=content)))
    target.with_suffix(".tfrecord").write_bytes(stream.getvalue())
