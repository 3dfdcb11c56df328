"""A file as a row of tokens: its bytes, or the numbers that a tokeniser wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from accel.errors import ConfigError

__all__ = ["SCANNED", "Kind", "open_tokens", "size_of"]

Kind = Literal["auto", "bytes", "uint16", "uint32"]
SCANNED = 1 << 24
"""Tokens of which the largest is looked for at once."""


def open_tokens(path: Path, kind: Kind, least: int, context: int) -> NDArray[Any]:
    """The tokens of a file, memory-mapped and read-only: (n,) uint8, or of the kind that it holds.

    Args:
        kind: what they are; auto: those of a .npy file as it says, of any other its bytes.
        least: how many there must be.
        context: named in the message where there are fewer.

    Raises:
        ConfigError: where there is no such file, it holds something else, or too few tokens.
    """
    if not path.is_file():
        what = "that is a folder" if path.is_dir() else "that is no file with bytes to go back to" if path.exists() else ""
        raise ConfigError(f"task.path={path}: {f'{what}; name a file' if what else 'there is no such file'}")
    if kind == "auto" and path.suffix == ".bin":
        raise ConfigError(f"task.path={path} may hold tokens or bytes; say which: task.tokens=uint16, uint32 or bytes")
    size = path.stat().st_size
    try:
        if kind == "auto" and path.suffix == ".npy":
            tokens: NDArray[Any] = _array(path)
        else:
            dtype = np.dtype("uint8" if kind in ("auto", "bytes") else kind).newbyteorder("<")
            if size % dtype.itemsize:
                raise ConfigError(
                    f"task.path={path} has {size:,} bytes, which is no whole number of {kind}; it is cut short, or no such file"
                )
            tokens = np.memmap(path, dtype, mode="r") if size else np.empty(0, dtype)
    except OSError as error:
        raise ConfigError(f"task.path={path} cannot be read: {error.strerror}") from None
    if len(tokens) < least:
        what = "bytes" if tokens.dtype == np.uint8 else "tokens"
        raise ConfigError(f"task.path={path} has {len(tokens)} {what}, and task.context={context} needs {least} or more")
    return tokens


def _array(path: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ConfigError(f"task.path={path} is no .npy file that can be mapped: {str(error).splitlines()[0]}") from None
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ConfigError(f"task.path={path} holds an array of shape {found.shape} {found.dtype}; a row of whole numbers is wanted")
    return found


def size_of(tokens: NDArray[Any], path: object) -> int:
    """How many tokens there may be: 256 for bytes, else one more than the largest, for which all are gone through.

    Raises:
        ConfigError: where one is below 0, or none is known so large.
    """
    if tokens.dtype == np.uint8:
        return 256
    parts = [tokens[start : start + SCANNED] for start in range(0, len(tokens), SCANNED)]
    lowest, largest = (
        (0 if tokens.dtype.kind == "u" else min(int(part.min()) for part in parts)),
        max(int(part.max()) for part in parts),
    )
    if lowest < 0 or largest >= 1 << 24:
        raise ConfigError(
            f"task.path={path} holds the number {lowest if lowest < 0 else largest}, which is no token; see task.tokens"
        )
    return largest + 1
