"""Settings of the augmentation: refused, without effect, and shown in the plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.plugins.augment import Augment
from accel.plugins.cosine import Cosine
from accel.tasks.digits import Digits
from accel.testing import check_plugin
from tests.support.augmented_batches import ALL, LABELS, PICTURES, Recorder, ready
from tests.support.companions import COMPANIONS


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(Recorder().data("train"))


@pytest.mark.filterwarnings("ignore:data is a list")
@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        ({"num_classes": None}, [(PICTURES, LABELS)], r"needs the number of classes, .*; set plugins.augment.num_classes"),
        ({"resize_from": 0.5}, Endless(), r"resize_from needs the length of the run, and the data has none; set resize_from=1"),
        ({}, [{"x": PICTURES}], r"augment needs batches of \(pictures or points, labels\), and this one is a dict; leave it out"),
        ({}, [PICTURES], r"this one is a tensor of shape \(5, 16, 12, 3\)"),
        ({}, [(PICTURES, LABELS.float())], r"need a label of int64 for each sample, .* torch.float32 of shape"),
        ({}, [(PICTURES, LABELS[:4])], r"labels of a tensor of shape \(5, 16, 12, 3\) are torch.int64 of shape \(4,\)"),
        ({"cutmix": 1.0}, [(torch.randn(5, 6), LABELS)], r"cutmix needs pictures, .*; set plugins.augment.cutmix=0"),
        ({"erasing": 0.5}, [(torch.randn(5, 6), LABELS)], r"erasing needs pictures, .* set plugins.augment.erasing=0"),
        ({"resize_from": 0.5}, [(torch.randn(5, 6), LABELS)], r"resize_from needs pictures, .* set plugins.augment.resize_from=1"),
        ({"mixup": 1.0}, [(PICTURES.long(), LABELS)], r"mixup needs floating point or uint8, .* torch.int64; set .*mixup=0"),
        ({"num_classes": 2}, [(PICTURES, LABELS)], r"labels from 0 to 2, and there are 2 classes; say num_classes=3"),
    ],
)
def test_what_cannot_be_augmented_is_refused(settings: dict[str, Any], data: Any, message: str) -> None:
    plugin = Augment(**{"num_classes": 3, **settings})
    with pytest.raises(ConfigError, match=message):
        Trainer(
            nn.Linear(3, 3), data, loss=lambda model, batch: model(batch[0]).mean(), plugins=[plugin], watch=(), device="cpu"
        ).fit()


def test_settings_that_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match=r"augment.erasing_min_area=0.5 is above erasing_max_area=0.4; set it no higher"):
        Augment(erasing_min_area=0.5)
    with pytest.raises(ConfigError, match=r"augment.resize_from must be a number above 0, to 1, not 0"):
        Augment(resize_from=0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 0.0}, "augment has no effect: label_smoothing, mixup, cutmix and erasing are 0, and resize_from is 1"),
        ({"mix_prob": 0.5}, "augment.mix_prob has no effect without augment.mixup or cutmix"),
        ({"mixup": 0.2, "mix_prob": 0.0}, "augment.mixup has no effect without augment.mix_prob above 0"),
        ({"erasing_aspect": 0.5}, "augment.erasing_aspect has no effect without augment.erasing"),
        ({"resize_multiple": 4}, "augment.resize_multiple has no effect without augment.resize_from below 1"),
        ({"num_classes": 7}, "augment.num_classes=7, where the task or its data tells of 3"),
    ],
)
def test_settings_without_effect_warn(settings: dict[str, Any], message: str) -> None:
    trainer = Recorder(plugins=[Augment(**settings)], dry_run=True)
    trainer.model = lambda: nn.Sequential(nn.Flatten(), nn.Linear(576, settings.get("num_classes", 3)))  # type: ignore[method-assign]
    with pytest.warns(AccelWarning, match=message):
        trainer.fit()


def test_the_plan_says_what_it_does() -> None:
    assert ready(**ALL).plan_notes() == {
        "labels": "probabilities of 3 classes, smoothed by 0.1",
        "mixing": "each micro-batch, each sample with the one before it: mixup of alpha 0.4 or cutmix of alpha 1",
        "picture sides": "0.5 of the whole at first, in steps of 8; whole after 8 of 10 epochs",
    }
    assert ready(label_smoothing=0.0).plan_notes() == {}


@pytest.mark.slow
def test_the_digits_are_learnt_with_it() -> None:
    plugins = [Augment(mixup=0.2, cutmix=1.0, erasing=0.25), AdamW(lr=0.003), Cosine()]
    result = Digits(plugins=plugins, watch=(), epochs=8, device="cpu").fit()
    assert result.metrics["accuracy"] >= 0.97


@pytest.mark.slow
def test_the_common_suite_with_mixup() -> None:
    check_plugin(lambda: Augment(mixup=0.4, label_smoothing=0.0), beside=COMPANIONS)
