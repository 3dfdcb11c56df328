"""Chunks of texts that fit into the context of a model, and rows of several chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accel.tasks.language.tokens import TokenisedTexts

__all__ = ["Chunks", "Rows", "cut", "first_chunks", "pack"]

Whole = NDArray[np.int64]


@dataclass
class Chunks:
    """Parts of texts, in order."""

    starts: Whole
    """Number of the first token of each, (chunks,)."""
    lengths: Whole
    """Tokens of each, (chunks,)."""

    def __len__(self) -> int:
        return len(self.starts)


def cut(texts: TokenisedTexts, length: int, overlap: int, least: int) -> Chunks:
    """Return all texts in chunks, the last of each text perhaps shorter.

    Args:
        texts: the texts.
        length: tokens of a chunk.
        overlap: tokens that a chunk has in common with the one before: 1 where each token is predicted from those before it, so
            that no token but the first of a text goes without a prediction.
        least: tokens of the shortest chunk that is any use.
    """
    sizes = texts.ends - texts.starts
    stride = length - overlap
    counts = np.where(sizes < least, 0, np.maximum(1, -(-(sizes - overlap) // stride)))
    owner = np.repeat(np.arange(len(sizes)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = texts.starts[owner] + number * stride
    return Chunks(starts, np.minimum(length, texts.ends[owner] - starts))


def first_chunks(texts: TokenisedTexts, length: int) -> Chunks:
    """Return the beginning of each text, at most `length` tokens: one chunk for each, an empty one for an empty text."""
    return Chunks(texts.starts, np.minimum(length, texts.ends - texts.starts))


@dataclass
class Rows:
    """Rows of one chunk each, or of several that are packed."""

    tokens: NDArray[Any]
    chunks: Chunks
    prefix: Whole
    suffix: Whole
    """What stands before and behind each chunk."""
    order: Whole
    """Numbers of the chunks, row by row, (chunks,)."""
    ends: Whole
    """Where each row ends in `order`, (rows,)."""

    def __len__(self) -> int:
        return len(self.ends)

    def read(self, row: int) -> list[Whole]:
        """Return the chunks of a row, (n,) int64 each."""
        places = self.order[self.ends[row - 1] if row else 0 : self.ends[row]]
        chunks = zip(self.chunks.starts[places].tolist(), self.chunks.lengths[places].tolist(), strict=True)
        return [
            np.concatenate([self.prefix, self.tokens[start : start + length], self.suffix], dtype=np.int64)
            for start, length in chunks
        ]

    @property
    def size(self) -> int:
        """Tokens of all rows."""
        return int(self.chunks.lengths.sum()) + len(self.chunks) * (len(self.prefix) + len(self.suffix))


def pack(lengths: Whole, room: int) -> tuple[Whole, Whole]:
    """Return chunks in rows with little left over: the longest first, each into the fullest row that has room for it.

    Source: best-fit decreasing, as in Ding et al., Fewer Truncations Improve Language Modeling, arXiv 2404.10830.

    Args:
        lengths: tokens of each chunk, (chunks,), none above `room`.
        room: tokens of a row.

    Returns:
        Numbers of the chunks, row by row, (chunks,); where each row ends among them, (rows,).
    """
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(room + 1)]
    """Rows by what room they have."""
    any_with = 0
    """Bit r: whether a row has room for r."""
    for chunk in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[chunk])
        fitting = any_with >> length
        if fitting:
            left = length + (fitting & -fitting).bit_length() - 1
            row = by_room[left].pop()
            if not by_room[left]:
                any_with &= ~(1 << left)
        else:
            left, row = room, len(rows)
            rows.append([])
        rows[row].append(chunk)
        by_room[left - length].append(row)
        any_with |= 1 << (left - length)
    return np.array([chunk for row in rows for chunk in row], np.int64), np.cumsum([len(row) for row in rows], dtype=np.int64)
