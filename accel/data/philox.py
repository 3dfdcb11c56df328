"""Philox, a generator whose numbers are a function of a counter and a key: here for many keys at once, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FACTORS", "LOW", "ROUNDS", "WEYL", "first_block", "signed", "upper"]

LOW = 0xFFFFFFFF
FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
ROUNDS = 10


def first_block(keys: Tensor, high: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first four 64-bit numbers of `numpy.random.Philox(key=(high << 64) | key)`, for every key at once.

    Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011 (Philox4x64-10).

    Args:
        keys: (n,) int64, from 0.
        high: the upper 64 bits of every key.

    Returns:
        Four times (n,) int64 on the device of `keys`, whose 64 bits are those of numpy's unsigned numbers.
    """
    a, b, c, d = torch.ones_like(keys), *(torch.zeros_like(keys) for _ in range(3))  # numpy counts before it draws
    low = keys
    for turn in range(ROUNDS):
        if turn:
            low, high = low + signed(WEYL[0]), (high + WEYL[1]) % 2**64
        above, below = _product(a, FACTORS[0])
        over, under = _product(c, FACTORS[1])
        a, b, c, d = over ^ b ^ low, under, above ^ d ^ signed(high), below
    return a, b, c, d


def signed(number: int) -> int:
    """The int64 of the same 64 bits."""
    return number - 2**64 if number >= 2**63 else number


def upper(words: Tensor) -> Tensor:
    """The upper 32 bits of each, from 0 to 2^32 - 1. (torch shifts the sign in.)"""
    return (words >> 32) & LOW


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower 64 bits of the unsigned products, put together from those of 32-bit halves."""
    high, low = factor >> 32, factor & LOW
    x1, x0 = upper(x), x & LOW
    first = upper(x0 * low) + x0 * high
    second = (first & LOW) + x1 * low
    return x1 * high + upper(first) + upper(second), x * signed(factor)
