"""Sizes on the way from the first to the whole one."""

from __future__ import annotations

import pytest
import torch

from accel.data.augmentation import resize, resize_scale, resized_side


def test_the_scale_grows_in_a_straight_line_and_is_then_whole() -> None:
    assert [resize_scale(time / 10, 0.5, 0.8) for time in (0, 4, 8, 9, 10)] == [0.5, 0.75, 1.0, 1.0, 1.0]
    assert resize_scale(0.0, 0.5, 0.0) == 1.0


def test_sides_are_multiples_but_for_the_whole_one() -> None:
    assert [resized_side(scale, 32, 8) for scale in (0.1, 0.5, 0.6, 0.63, 0.9, 1.0)] == [8, 16, 16, 24, 32, 32]
    assert [resized_side(scale, 30, 8) for scale in (0.5, 0.9, 0.95, 1.0)] == [16, 24, 30, 30], "never above the whole"
    assert resized_side(0.5, 6, 8) == 6


def test_halving_an_even_picture_keeps_its_mean_and_its_range() -> None:
    pictures = torch.randint(0, 256, (2, 3, 16, 12)).float()
    small = resize(pictures, 8, 6)
    assert small.shape == (2, 3, 8, 6)
    assert small.mean() == pytest.approx(float(pictures.mean()), rel=0.02)
    assert small.min() >= 0
    assert small.max() <= 255


def test_a_pattern_too_fine_for_the_size_becomes_grey() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 32, 32)
    small = resize(stripes, 24, 24)
    assert (small[..., 2:-2] - 0.5).abs().max() < 0.3, "without the wider triangle whole stripes would be left"
