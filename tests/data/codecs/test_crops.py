from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pytest

from accel.data.codecs.crops import Box, random_resized, whole_numbers
from accel.data.sampling import sample_rng


def by_numpy(width: int, height: int, rng: np.random.Generator) -> Box:
    """Return torchvision's box, drawn by numpy's own calls."""
    for _ in range(10):
        size = width * height * (0.08 + (1.0 - 0.08) * rng.random())
        shape = exp(-log(4 / 3) + 2 * log(4 / 3) * rng.random())
        wide, high = round(sqrt(size * shape)), round(sqrt(size / shape))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
            return left, top, left + wide, top + high
    wide, high = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


@pytest.mark.parametrize("size", [(340, 256), (256, 256), (1, 1), (2, 2), (3, 500), (1, 40), (4000, 3000)])
def test_boxes_are_those_that_numpys_generator_draws(size: tuple[int, int]) -> None:
    for index in range(300):
        rng, reference = sample_rng(2**63 + 5, 1, index), sample_rng(2**63 + 5, 1, index)
        assert random_resized(*size, rng) == by_numpy(*size, reference)
        assert rng.random() == reference.random(), "and so is what comes after"


def test_halves_that_would_favour_some_numbers_are_passed_over() -> None:
    words = iter([(1 << 32) | 0, (2**31 << 32) | 2**32 - 1])
    # of 2^32 halves one is too many for 3 numbers: the half 0; the others come in their order
    assert whole_numbers(lambda: next(words), 3, 1, 3, 2) == [0, 0, 2, 1]
