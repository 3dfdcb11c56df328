"""Loaders of the user's own, which draw random numbers as they go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accel.plugins.adamw import AdamW
from accel.testing import fit_toy


def stopped(tmp_path: Path) -> Path:
    fit_toy([AdamW()], epochs=3, out=tmp_path / "run", stop=13)
    return tmp_path / "run"


@contextmanager
def own_loader(make: Callable[[], Any]) -> Iterator[Any]:
    """A loader, whose worker processes end with the block. The garbage collector would wait 5 seconds for each of them."""
    loader = make()
    try:
        yield loader
    finally:
        if (iterator := getattr(loader, "_iterator", None)) is not None:
            iterator._shutdown_workers()
