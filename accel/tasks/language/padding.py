"""Batches of rows of unlike lengths, padded to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accel.tasks.language.token_rows import IGNORED, Sample

__all__ = ["MULTIPLE", "pad_rows"]

MULTIPLE = 8
"""Lengths of batches are multiples of it, where the context allows: kernels for matrices like them."""


def pad_rows(samples: Sequence[Sample], padding: int, most: int) -> dict[str, Tensor]:
    """Return rows as a batch: `input_ids`, (batch, length) int64, and beside it what the rows have.

    - `attention_mask`, (batch, length) int64: 1 for a token, 0 for padding; without packing alone.
    - `position_ids`, (batch, length) int64, of packed rows: places in their chunks, 0 for padding, so that each such token is
      a chunk of its own.
    - `labels`: (batch, length) int64, `IGNORED` for padding; of another length where they are another text; or (batch,) numbers.

    Args:
        samples: rows, as a data set gives them.
        padding: token that stands for none.
        most: length of the longest row that there may be.
    """
    batch: dict[str, Any] = {"input_ids": _padded([sample["input_ids"] for sample in samples], padding, most)}
    if "position_ids" in samples[0]:
        batch["position_ids"] = _padded([sample["position_ids"] for sample in samples], 0, most)
    else:
        batch["attention_mask"] = _padded([np.ones(len(sample["input_ids"]), np.int64) for sample in samples], 0, most)
    if "labels" in samples[0]:
        labels = [sample["labels"] for sample in samples]
        batch["labels"] = torch.tensor(labels) if isinstance(labels[0], int) else _padded(labels, IGNORED, most)
    return batch


def _padded(rows: Sequence[Any], value: int, most: int) -> Tensor:
    """Return rows, (n,) int64 each, as (rows, length) int64, with a value behind each."""
    longest = max(len(row) for row in rows)
    whole = np.full((len(rows), max(longest, min(most, -(-longest // MULTIPLE) * MULTIPLE))), value, np.int64)
    for place, row in enumerate(rows):
        whole[place, : len(row)] = row
    return torch.from_numpy(whole)
