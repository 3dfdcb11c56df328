"""File of tokens: its bytes, or the numbers that a tokeniser wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from accel.errors import ConfigError

__all__ = ["SCANNED", "Kind", "open_tokens", "vocabulary_size"]

Kind = Literal["auto", "bytes", "uint16", "uint32"]
SCANNED = 1 << 24
"""Tokens that are scanned at once for the largest."""


def open_tokens(path: Path, kind: Kind, least: int, context: int) -> NDArray[Any]:
    """Return the tokens of a file, memory-mapped and read-only: (n,) uint8, or of the dtype that it holds.

    Args:
        path: The file: `.npy`, or numbers one after the other, little endian.
        kind: Kind of its tokens. auto: as a .npy file says, and bytes of any other.
        least: Number of tokens that it must have.
        context: Setting that needs so many, for the message.

    Raises:
        ConfigError: If there is no such file, it holds something else, or it has too few tokens.
    """
    if not path.is_file():
        reason = "that is a folder" if path.is_dir() else "that is no file with bytes to go back to" if path.exists() else ""
        raise ConfigError(f"task.path={path}: {f'{reason}; name a file' if reason else 'there is no such file'}")
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
        unit = "bytes" if tokens.dtype == np.uint8 else "tokens"
        raise ConfigError(f"task.path={path} has {len(tokens)} {unit}, and task.context={context} needs {least} or more")
    return tokens


def _array(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file, memory-mapped: (n,) of whole numbers."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ConfigError(f"task.path={path} is no .npy file that can be mapped: {str(error).splitlines()[0]}") from None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ConfigError(f"task.path={path} holds an array of shape {array.shape} {array.dtype}; a row of whole numbers is wanted")
    return array


def vocabulary_size(tokens: NDArray[Any], path: object) -> int:
    """Return the number of different tokens: 256 for bytes, otherwise one more than the largest, for which all are scanned.

    Args:
        tokens: (n,) of whole numbers.
        path: Their file, for messages.

    Raises:
        ConfigError: If a token is below 0, or larger than any vocabulary (2^24).
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
