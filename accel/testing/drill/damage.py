"""Damages of files: the accidents that a checkpoint must survive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

__all__ = ["DAMAGES", "cut", "damage", "empty", "flip", "remove", "swap", "zero"]


def cut(file: Path, rng: Random) -> None:
    """Cut off the end of a file."""
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def flip(file: Path, rng: Random) -> None:
    """Flip one bit of a file."""
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def zero(file: Path, rng: Random) -> None:
    """Zero a block of 512 bytes, as if it had never been written."""
    data = bytearray(file.read_bytes())
    start = rng.randrange(0, len(data), 512)
    while not any(data[start : start + 512]):
        start = rng.randrange(0, len(data), 512)
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    file.write_bytes(data)


def empty(file: Path, rng: Random) -> None:
    """Empty a file."""
    file.write_bytes(b"")


def remove(file: Path, rng: Random) -> None:
    """Remove a file."""
    file.unlink()


def swap(file: Path, rng: Random) -> None:
    """Replace a checkpoint by another one; if there is none, or an equal one, cut it."""
    others = [path for path in sorted(file.parent.glob("*.pt")) if path.read_bytes() != file.read_bytes()]
    if others:
        file.write_bytes(rng.choice(others).read_bytes())
    else:
        cut(file, rng)


DAMAGES: dict[str, Callable[[Path, Random], None]] = {each.__name__: each for each in (cut, flip, zero, empty, remove, swap)}
"""The damages of a state by name. Its .json, of which not every bit matters, takes all but `flip`, `zero` and `swap`."""


def damage(file: Path, rng: Random) -> str:
    """Damage a checkpoint, so that it is not whole, and return how, in words."""
    manifest = file.with_suffix(".json")
    if manifest.exists() and rng.random() < 0.2:
        name = rng.choice(["cut", "empty", "remove"])
        DAMAGES[name](manifest, rng)
        return f"{manifest.name}: {name}"
    name = rng.choice(list(DAMAGES))
    DAMAGES[name](file, rng)
    return f"{file.name}: {name}"
