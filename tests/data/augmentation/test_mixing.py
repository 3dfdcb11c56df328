"""Soft labels, mixup and cutmix against what their papers write, a sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from accel.data.augmentation import cutmix, cutmix_box, mixup, soft_labels
from accel.errors import ConfigError


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_smoothing_is_that_of_cross_entropy(smoothing: float) -> None:
    logits, labels = torch.randn(7, 5), torch.randint(0, 5, (7,))
    probabilities = soft_labels(labels, 5, smoothing)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(1), torch.ones(7))
    actual, theirs = F.cross_entropy(logits, probabilities), F.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert torch.allclose(actual, theirs, rtol=1e-6, atol=0)


def test_without_smoothing_the_probabilities_are_exact() -> None:
    labels = torch.tensor([2, 0, 1])
    assert torch.equal(soft_labels(labels, 3, 0.0), torch.eye(3)[labels])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (5, "labels from 1 to 5, and there are 3 classes; say num_classes=6"),
        (-100, "labels from -100 to 1, and .*; number the classes from 0"),
    ],
)
def test_a_label_of_no_class_is_refused(label: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        soft_labels(torch.tensor([1, label]), 3, 0.1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_mixup_is_the_weighted_mean_with_the_one_before(count: int) -> None:
    samples, labels = torch.randn(count, 3, 4, 5), soft_labels(torch.arange(count), 6, 0.1)
    before = samples.clone()
    mixed, mixed_labels = mixup(samples, 0.3), mixup(labels, 0.3)
    for i in range(count):
        assert torch.allclose(mixed[i], 0.3 * samples[i] + 0.7 * samples[i - 1], atol=1e-6)
        assert torch.allclose(mixed_labels[i], 0.3 * labels[i] + 0.7 * labels[i - 1], atol=1e-6)
    assert torch.equal(samples, before), "the user's own tensor stays as it is"


def test_no_sample_of_an_odd_batch_is_left_to_itself() -> None:
    samples = torch.arange(5.0).view(5, 1)
    assert (mixup(samples, 0.5) != samples).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutmix_takes_the_box_of_the_one_before(dtype: torch.dtype) -> None:
    pictures = torch.randint(0, 255, (5, 3, 8, 6)).to(dtype)
    before = pictures.clone()
    mixed = cutmix(pictures, (2, 5, 1, 4))
    assert mixed.dtype == dtype
    for i in range(5):
        for y in range(8):
            for x in range(6):
                source = i - 1 if 2 <= y < 5 and 1 <= x < 4 else i
                assert torch.equal(mixed[i, :, y, x], pictures[source, :, y, x])
    assert torch.equal(pictures, before)


def test_the_labels_share_is_the_area_that_is_left() -> None:
    rng, cut = np.random.default_rng(0), 0
    for _ in range(500):
        share = rng.beta(1, 1)
        (top, bottom, left, right), true = cutmix_box(12, 20, share, rng)
        assert 0 <= top <= bottom <= 12
        assert 0 <= left <= right <= 20
        mask = np.ones((12, 20))
        mask[top:bottom, left:right] = 0
        assert true == pytest.approx(mask.mean())
        assert true >= share - 1e-9, "what lies outside is cut off: never more than the box is taken"
        cut += true > share + 0.1
    assert cut > 100, "the share that was drawn would often be far off"


def test_a_box_of_nothing_and_of_everything() -> None:
    rng = np.random.default_rng(0)
    assert cutmix_box(8, 8, 1.0, rng)[1] == 1.0
    assert min(cutmix_box(8, 8, 0.0, rng)[1] for _ in range(200)) == 0.0
