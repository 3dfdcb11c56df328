"""Random erasing: what its boxes are, and that nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from accel.data.augmentation import erase, erasing_boxes


def test_boxes_are_as_large_and_as_wide_as_they_are_said_to_be() -> None:
    top, bottom, left, right = erasing_boxes(4000, 200, 300, 1.0, (0.02, 0.4), 0.3, np.random.default_rng(0))
    assert min(top.min(), left.min()) == 0
    assert bottom.max() == 200
    assert right.max() == 300
    high, wide = bottom - top, right - left
    area, ratio = high * wide / 60_000, high / wide
    assert area.min() == pytest.approx(0.02, abs=0.002)
    assert area.max() == pytest.approx(0.4, abs=0.01)
    assert area.mean() == pytest.approx(0.21, abs=0.01), "uniform"
    small = area < 0.1  # those that fit in any shape
    assert ratio.min() >= 0.29
    assert ratio.max() <= 1.02 / 0.3
    assert np.log(ratio[small]).mean() == pytest.approx(0, abs=0.1), "as often upright as lying"


def test_only_a_share_of_the_pictures_gets_one() -> None:
    top, bottom, left, right = erasing_boxes(2000, 32, 32, 0.25, (0.02, 0.4), 0.3, np.random.default_rng(0))
    assert np.mean(bottom > top) == pytest.approx(0.25, abs=0.03)
    assert ((bottom > top) == (right > left)).all()
    assert not erasing_boxes(100, 32, 32, 0.0, (0.02, 0.4), 0.3, np.random.default_rng(0)).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 100), (100, 3)])
def test_boxes_stay_inside_of_any_picture(height: int, width: int) -> None:
    top, bottom, left, right = erasing_boxes(500, height, width, 1.0, (0.0, 1.0), 1.0, np.random.default_rng(0))
    assert ((top >= 0) & (top < bottom) & (bottom <= height)).all()
    assert ((left >= 0) & (left < right) & (right <= width)).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_inside_has_the_mean_colour_and_the_outside_is_as_it_was(dtype: torch.dtype) -> None:
    pictures = torch.randint(0, 255, (3, 3, 8, 6)).to(dtype)
    before = pictures.clone()
    boxes = torch.tensor([[1, 0, 0], [4, 0, 8], [2, 0, 0], [5, 0, 6]])  # one inside, an empty one, the whole picture
    actual = erase(pictures, boxes)
    colour = pictures.double().mean((0, 2, 3))
    for i, (top, bottom, left, right) in enumerate(boxes.T.tolist()):
        for y in range(8):
            for x in range(6):
                if top <= y < bottom and left <= x < right:
                    assert torch.allclose(actual[i, :, y, x].double(), colour, atol=0.51 if dtype == torch.uint8 else 1e-3)
                else:
                    assert torch.equal(actual[i, :, y, x], pictures[i, :, y, x])
    assert actual.dtype == dtype
    assert torch.equal(pictures, before)
