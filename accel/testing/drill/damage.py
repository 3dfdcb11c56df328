"""What happens to files that nobody meant to touch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

__all__ = ["DAMAGES", "cut", "damage", "empty", "flip", "remove", "swap", "zero"]


def cut(file: Path, rng: Random) -> None:
    """Its end is missing."""
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def flip(file: Path, rng: Random) -> None:
    """One bit is another."""
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def zero(file: Path, rng: Random) -> None:
    """A block of it was never written."""
    data = bytearray(file.read_bytes())
    at = rng.randrange(0, len(data), 512)
    while not any(data[at : at + 512]):
        at = rng.randrange(0, len(data), 512)
    data[at : at + 512] = bytes(len(data[at : at + 512]))
    file.write_bytes(data)


def empty(file: Path, rng: Random) -> None:
    """It is there, and nothing in it."""
    file.write_bytes(b"")


def remove(file: Path, rng: Random) -> None:
    """It is gone."""
    file.unlink()


def swap(file: Path, rng: Random) -> None:
    """It is another checkpoint's; where there is none, or the same, cut off."""
    others = [path for path in sorted(file.parent.glob("*.pt")) if path.read_bytes() != file.read_bytes()]
    if others:
        file.write_bytes(rng.choice(others).read_bytes())
    else:
        cut(file, rng)


DAMAGES: dict[str, Callable[[Path, Random], None]] = {found.__name__: found for found in (cut, flip, zero, empty, remove, swap)}
"""What may happen to the state; to its .json, of which not every bit matters: all but `flip`, `zero` and `swap`."""


def damage(file: Path, rng: Random) -> str:
    """Damages a checkpoint so that it is not whole; returns how, in words."""
    about = file.with_suffix(".json")
    if about.exists() and rng.random() < 0.2:
        how = rng.choice(["cut", "empty", "remove"])
        DAMAGES[how](about, rng)
        return f"{about.name}: {how}"
    how = rng.choice(list(DAMAGES))
    DAMAGES[how](file, rng)
    return f"{file.name}: {how}"
