"""Packing that is interrupted, and the records of a store."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel.data.store import Files
from accel.data.stores.encoding_recipe import Recipe
from accel.data.stores.formats import store_at
from accel.data.stores.packing import Packing

BOTH = pytest.mark.parametrize("format", ["lmdb", "raw"])


def recipe(format: str) -> Recipe:
    return Recipe("raw" if format == "raw" else "original")


def contents(path: Path) -> list[bytes]:
    store = store_at(path)
    return [bytes(record) for record in store.get_many(range(len(store)))]


class Stop(Exception):
    """What a test raises inside a packing."""


def interrupted(source: Files, path: Path, after: int, how: Recipe | None = None, skip: bool = False) -> Packing:
    """A packing that was left after so many pictures: what was ready is written, as when the user interrupts it."""
    seen = 0

    def tell(what: str, pictures: int) -> None:
        nonlocal seen
        seen += pictures
        if seen >= after:
            raise Stop

    with pytest.raises(Stop):
        Packing(source, path, how or recipe(path.suffix[1:]), skip=skip, on_progress=tell).run()
    assert not path.exists()
    return Packing(source, path, how or recipe(path.suffix[1:]), skip=skip)


def one_go(source: Files, folder: Path, format: str) -> list[bytes]:
    path = folder / f"one go.{format}"
    path.unlink(missing_ok=True)
    Packing(source, path, recipe(format)).run()
    return contents(path)
