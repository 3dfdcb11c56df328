from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from accel.data.codecs import crops
from accel.data.codecs.pillow_decoder import resample
from accel.tasks.normalise import MEAN, STD, normalise


@pytest.mark.parametrize(("width", "height"), [(500, 375), (32, 32), (1, 1), (1000, 3), (3, 1000)])
def test_random_boxes_lie_inside(width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = crops.random_resized(width, height, rng)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert max((right - left) / (bottom - top), (bottom - top) / (right - left)) < 1.6 or min(width, height) <= 3


def test_random_boxes_are_uniform_in_area() -> None:
    rng = np.random.default_rng(0)
    boxes = [crops.random_resized(1000, 1000, rng) for _ in range(4000)]
    areas = np.array([(right - left) * (bottom - top) / 1e6 for left, top, right, bottom in boxes])
    assert areas.min() == pytest.approx(0.08, abs=0.005)
    assert areas.max() > 0.95
    counts, _ = np.histogram(areas, bins=4, range=(0.08, 0.75))  # above, some shapes do not fit and are drawn again
    assert counts == pytest.approx(counts.mean(), rel=0.1)


def test_centre() -> None:
    assert crops.centre(40, 20) == (10, 0, 30, 20)
    assert crops.centre(40, 20, share=0.5) == (15, 5, 25, 15)


def test_padded_moves_by_up_to_the_padding_and_fills_with_black() -> None:
    picture = np.arange(1, 8 * 8 * 3 + 1, dtype=np.uint8).reshape(8, 8, 3)
    rng = np.random.default_rng(0)
    moves = set()
    for _ in range(300):
        moved = crops.padded(picture, 2, rng)
        assert moved.shape == (8, 8, 3)
        row, column = np.argwhere((moved == picture[4, 4]).all(2))[0]
        moves.add((int(row) - 4, int(column) - 4))
        assert moved.any(2).sum() == (8 - abs(row - 4)) * (8 - abs(column - 4))
    assert moves == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}


def test_resample_leaves_a_picture_of_the_right_size_alone() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    assert np.array_equal(resample(picture, (0, 0, 16, 16), 16), pixels)
    halved = resample(picture, (0, 0, 8, 8), 8)
    assert np.array_equal(halved, pixels[:8, :8])


def test_normalise() -> None:
    pictures = torch.randint(256, (2, 5, 7, 3), dtype=torch.uint8)
    out = normalise(pictures)
    expected = (pictures.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous()
    assert torch.equal(normalise(pictures.float()), out)
