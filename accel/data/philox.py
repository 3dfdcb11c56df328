"""Philox, a generator whose numbers are a function of a counter and a key; here for many keys at once, on any device.

Source: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011 (Philox4x64-10).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["FACTORS", "LOW", "ROUNDS", "WEYL", "first_block", "signed", "upper"]

LOW = 0xFFFFFFFF
"""The lower 32 of 64 bits."""
FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
"""By which the first and the third word are multiplied in each round."""
WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
"""Which is added to the lower and the upper half of the key after each round."""
ROUNDS = 10


def first_block(keys: Tensor, high: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first four 64-bit numbers of `numpy.random.Philox(key=(high << 64) | key)`, for every key at once.

    Args:
        keys: (n,) int64, from 0.
        high: the upper 64 bits of every key.

    Returns:
        Four times (n,) int64, on the device of `keys`, with the 64 bits of numpy's unsigned numbers.
    """
    word0, word1, word2, word3 = torch.ones_like(keys), *(torch.zeros_like(keys) for _ in range(3))  # numpy counts before it draws
    low = keys
    for round_number in range(ROUNDS):
        if round_number:
            low, high = low + signed(WEYL[0]), (high + WEYL[1]) % 2**64
        high0, low0 = _product(word0, FACTORS[0])
        high2, low2 = _product(word2, FACTORS[1])
        word0, word1, word2, word3 = high2 ^ word1 ^ low, low2, high0 ^ word3 ^ signed(high), low0
    return word0, word1, word2, word3


def signed(number: int) -> int:
    """Return the int64 that has the bits of an unsigned 64-bit number."""
    return number - 2**64 if number >= 2**63 else number


def upper(words: Tensor) -> Tensor:
    """Return the upper 32 bits of each word, from 0 to 2^32 - 1; torch shifts the sign in."""
    return (words >> 32) & LOW


def _product(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower 64 bits of unsigned products, put together from products of 32-bit halves."""
    high, low = factor >> 32, factor & LOW
    x1, x0 = upper(x), x & LOW
    first = upper(x0 * low) + x0 * high
    second = (first & LOW) + x1 * low
    return x1 * high + upper(first) + upper(second), x * signed(factor)
