from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes in train (9 and 8 pictures) and test (3 each): noise, in several formats, sizes and depths of folder."""
    rng = np.random.default_rng(0)
    for split, cats, dogs in (("train", 9, 8), ("test", 3, 3)):
        for name, count in (("cat", cats), ("dog", dogs)):
            folder = tmp_path / split / name
            (folder / "more").mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(256, size=(20 + number, 24, 3), dtype=np.uint8)
                suffix = ("png", "jpg", "bmp", "webp")[number % 4]
                place = folder / "more" if number == 5 else folder
                Image.fromarray(pixels).save(place / f"{number}.{suffix}")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not a picture")
    return tmp_path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """1,000 bytes: with a context of 16, neither split comes out even."""
    path = tmp_path / "text"
    path.write_bytes(np.random.default_rng(0).integers(97, 123, size=1000, dtype=np.uint8).tobytes())
    return path
