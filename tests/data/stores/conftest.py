from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accel.data.store import Files, class_names
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import store_at
from accel.data.stores.packed_store import PackedStore
from accel.data.stores.packing import Packing

pytest.importorskip("lmdb", reason="the stores need the extra lmdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 pictures of two classes: smooth ones (JPEGs of under 2 kB, which LMDB keeps inside its tree) and noisy ones (over it)."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        place = tmp_path / "data" / "train" / name
        (place / "more").mkdir(parents=True)
        for number in range(20):
            shape = (24 + number, 40, 3)
            pixels = rng.integers(256, size=shape) if number % 2 else np.full(shape, 5 * number)
            suffix = ("jpg", "png", "bmp", "webp")[number % 4]
            file = (place / "more" if number == 5 else place) / f"{number}.{suffix}"
            Image.fromarray(pixels.astype(np.uint8)).save(file)
    return tmp_path / "data" / "train"


@pytest.fixture
def files(folder: Path) -> Files:
    return Files(folder, class_names(folder))


Pack = Callable[..., PackedStore]


@pytest.fixture
def pack(files: Files, tmp_path: Path) -> Pack:
    """Packs the pictures; returns the store."""

    def make(format: str, name: str = "train", **recipe: int | str) -> PackedStore:
        path = tmp_path / f"{name}.{format}"
        settings = {"encoding": "raw"} if format == "raw" else {}
        Packing(files, path, Recipe(**{**settings, **recipe})).run()  # type: ignore[arg-type]
        return store_at(path)

    return make
