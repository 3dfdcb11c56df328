"""Its arithmetic against the papers' stands in tests/data: test_mixing.py, test_erasing.py, test_resizing.py."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import IterableDataset, TensorDataset

from accel import Trainer
from accel.device.rng import Randomness
from accel.errors import AccelWarning, ConfigError
from accel.parts import Micro, Part, Parts, Run, Window
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.augment import Augment
from accel.plugins.cosine import Cosine
from accel.tasks.digits import Digits
from accel.testing import HostReads, check_plugin, fit_toy
from accel.testing.toy_run import Spy, Stop, Toy

ALL: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "resize_from": 0.5, "num_classes": 3}
"""Everything on."""

PICTURES = torch.randint(0, 256, (5, 16, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1])


def ready(**settings: Any) -> Augment:
    """The plugin set up for a run of 10 epochs of 20 batches."""
    plugin = Augment(**{"num_classes": 3, **settings})
    run = Run(Parts(), nn.Linear(1, 1), lambda model, batch: batch, torch.device("cpu"), 0, 10, 4, batches=20)
    plugin.setup(run)
    return plugin


def apply(plugin: Augment, batch: Any, scale: float = 1.0, number: int = 0) -> Any:
    return plugin.batch(batch, scale, 0, number)


class Recorder(Trainer):
    """Trains on pictures (17, 3, 16, 12) and remembers what its loss is given in training."""

    num_classes = 3

    def __init__(self, layout: str = "NCHW", **run: Any) -> None:
        super().__init__(**{"watch": (), "epochs": 3, "batch_size": 4, "device": "cpu", **run})
        self.layout, self.seen = layout, list[Any]()

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def data(self, split: str) -> TensorDataset:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randn(17, 3, 16, 12, generator=generator)
        return TensorDataset(
            pictures.permute(0, 2, 3, 1) if self.layout == "NHWC" else pictures, torch.randint(0, 3, (17,), generator=generator)
        )

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if model.training:
            self.seen.append([member.clone() for member in batch])
        pictures = batch[0].permute(0, 3, 1, 2) if self.layout == "NHWC" else batch[0]
        return F.cross_entropy(model(pictures), batch[1])


def seen(*plugins: Part, **run: Any) -> list[Any]:
    trainer = Recorder(plugins=plugins, **run)
    trainer.fit()
    return trainer.seen


def same(ahead: list[Any], behind: list[Any]) -> bool:
    return len(ahead) == len(behind) and all(
        torch.equal(a, b) for one, other in zip(ahead, behind, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_by_itself_it_smooths_the_labels() -> None:
    """The toy with it is the toy whose loss smooths."""

    class Smoothed(Toy):
        def loss(self, model: nn.Module, batch: Any) -> Tensor:
            return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)

    ours, theirs = fit_toy([Augment()]), Spy()
    Smoothed(plugins=[theirs], watch=(), epochs=2, batch_size=4, seed=3, device="cpu").fit()
    for a, b in zip(ours.losses, theirs.losses, strict=True):
        assert torch.allclose(a, b, rtol=1e-5)
    assert not torch.allclose(ours.losses[0], fit_toy([]).losses[0])


def test_evaluation_sees_the_data_as_it_is() -> None:
    class Evaluated(Recorder):
        def metrics(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
            assert batch[0].shape[2:] == (16, 12)
            assert batch[1].dtype == torch.int64
            return {"labels": batch[1].float().mean()}

    metrics = Evaluated(plugins=[Augment(**ALL)]).fit().metrics
    assert metrics["labels"] == pytest.approx(float(Recorder().data("val").tensors[1].float().mean()))


@pytest.mark.parametrize("stop", [2, 4, 6, 9])
def test_a_resumed_run_draws_the_same(stop: int, tmp_path: Path) -> None:
    """Stopped anywhere, with everything on and windows of two, the last of each epoch short."""

    def plugins(stop: int = 0) -> list[Part]:
        return [Augment(**ALL), Accumulate(steps=2), Spy(stop=stop)]

    whole = seen(*plugins())
    with pytest.raises(Stop):
        Recorder(plugins=plugins(stop), out=tmp_path / "run", checkpoint_every=1).fit()
    rest = seen(*plugins(), resume=tmp_path / "run")
    epochs, windows = divmod(stop - 1, 3)  # the update that was cut off is done again
    assert same(rest, whole[5 * epochs + 2 * windows :])


def test_each_micro_batch_is_drawn_for_by_its_number_whatever_its_window() -> None:
    settings = {**ALL, "resize_from": 1.0}
    assert same(seen(Augment(**settings)), seen(Augment(**settings), Accumulate(steps=2)))
    assert not same(seen(Augment(**settings)), seen(Augment(**settings), seed=1))


def test_each_rank_and_each_epoch_draws_its_own_numbers() -> None:
    plugin, shares = ready(mixup=1.0, label_smoothing=0.0), []
    plugin.world_size = 2
    for plugin.rank, epoch in product((0, 1), (0, 1)):
        micros = [Micro((PICTURES, LABELS), 5, 1.0, True)] * 3
        (window,) = plugin.windows(iter([Window(micros, 3, 15)]), epoch, start=4)
        shares += [float(micro.batch[1][0, 0]) for micro in window.micros]
    assert len(set(shares)) == 12


def test_no_global_generator_moves() -> None:
    everything = Randomness(torch.device("cpu"))
    plugin, before = ready(**ALL), everything.state()
    for number in range(10):
        apply(plugin, (PICTURES, LABELS), scale=0.5, number=number)
    after = everything.state()
    assert torch.equal(before.pop("cpu"), after.pop("cpu"))
    assert before == after


def test_no_number_is_read_on_the_host() -> None:
    plugin = ready(**ALL)
    with HostReads() as reads:
        for number in range(10):
            apply(plugin, (PICTURES, LABELS), scale=0.5, number=number)
    assert reads.count == 0, reads.places


@pytest.mark.parametrize("settings", [{"cutmix": 1.0}, {"erasing": 1.0}, {"mixup": 1.0}, {"resize_from": 0.5}, ALL])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_channels_may_lie_first_or_last(settings: dict[str, Any], dtype: torch.dtype) -> None:
    plugin, last = ready(**settings), PICTURES.to(dtype)
    for number in range(4):
        ahead = apply(plugin, (last, LABELS), 0.5, number)
        behind = apply(plugin, (last.permute(0, 3, 1, 2).contiguous(), LABELS), 0.5, number)
        assert ahead[0].shape[3] == behind[0].shape[1] == 3
        assert torch.allclose(ahead[0].permute(0, 3, 1, 2).float(), behind[0].float(), atol=1e-3)
        assert torch.equal(ahead[1], behind[1])
    assert not torch.equal(ahead[0].float(), last.float())


def test_bytes_stay_bytes_unless_they_are_blended_and_are_then_never_rounded() -> None:
    for settings in ({"label_smoothing": 0.1}, {"cutmix": 1.0}, {"erasing": 1.0}):
        assert apply(ready(**settings), (PICTURES, LABELS))[0].dtype == torch.uint8
    both = ready(mixup=1.0, cutmix=1.0)
    kinds = {apply(both, (PICTURES, LABELS), number=number)[0].dtype for number in range(20)}
    assert kinds == {torch.float32}, "one type for the whole run, whatever was drawn"
    mixed, labels = apply(ready(mixup=1.0, label_smoothing=0.0), (PICTURES, LABELS))
    share = float(labels[0, 0])  # the first sample is of class 0, the one before it of class 1
    assert 0 < share < 1
    assert torch.allclose(mixed[0], share * PICTURES[0].float() + (1 - share) * PICTURES[-1].float(), atol=1e-3)


def test_one_of_the_two_is_drawn_for_each_micro_batch_and_some_are_left_alone() -> None:
    plugin, pictures = ready(mixup=1.0, cutmix=1.0, mix_prob=0.6, label_smoothing=0.0), PICTURES.float()
    counts = {"alone": 0, "cutmix": 0, "mixup": 0}
    for number in range(300):
        mixed, _ = apply(plugin, (pictures, LABELS), number=number)
        of_one = ((mixed == pictures) | (mixed == pictures.roll(1, 0))).all()
        counts["alone" if torch.equal(mixed, pictures) else "cutmix" if of_one else "mixup"] += 1
    assert counts["alone"] / 300 == pytest.approx(0.4, abs=0.08)
    assert counts["cutmix"] == pytest.approx(counts["mixup"], rel=0.4)


def test_the_labels_of_cutmix_have_the_share_of_the_pixels() -> None:
    plugin, pictures = ready(cutmix=1.0, label_smoothing=0.0), torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 10, 14)
    for number in range(30):
        mixed, labels = apply(plugin, (pictures, torch.arange(3)), number=number)
        for i in range(3):
            assert float(labels[i, i]) == pytest.approx(float((mixed[i] == i).float().mean()), abs=1e-6)


class Pair(NamedTuple):
    pictures: Tensor
    labels: Tensor
    names: list[str]


def test_the_structure_is_kept_and_the_users_tensors_are_not_written_to() -> None:
    plugin, before = ready(**ALL), PICTURES.clone()
    found = apply(plugin, Pair(PICTURES, LABELS, ["a"]), 0.5)
    assert type(found) is Pair
    assert found.names == ["a"]
    assert found.labels.shape == (5, 3)
    assert type(apply(plugin, [PICTURES, LABELS])) is list
    assert type(apply(plugin, (PICTURES, LABELS))) is tuple
    assert torch.equal(PICTURES, before)
    assert LABELS.dtype == torch.int64


def test_points_and_a_batch_of_one_can_be_mixed() -> None:
    points, labels = apply(ready(mixup=1.0), (torch.randn(4, 6), LABELS[:4]))
    assert (points.shape, labels.shape) == ((4, 6), (4, 3))
    one = torch.randn(1, 6)
    assert torch.allclose(apply(ready(mixup=1.0), (one, LABELS[:1]))[0], one)


def test_pictures_grow_with_the_run_and_are_whole_at_its_end() -> None:
    batches = seen(Augment(resize_from=0.5, resize_until=0.8, resize_multiple=4), epochs=5, layout="NHWC")
    sides = [tuple(pictures.shape[1:3]) for pictures, _ in batches]
    assert sides == sorted(sides), "never smaller again"
    assert sides[0] == (8, 8)  # half of 12 is 6, which lies midway between two multiples
    assert set(sides) == {(8, 8), (12, 8), (12, 12), (16, 12)}
    assert sides[20:] == [(16, 12)] * 5, "the last epoch"


def test_a_window_is_of_one_size() -> None:
    batches = seen(Augment(resize_from=0.5, resize_multiple=1), Accumulate(steps=5))
    assert [len({batch[0].shape[2:] for batch in batches[n : n + 5]}) for n in (0, 5, 10)] == [1, 1, 1]


def test_what_depends_on_the_length_goes_on_only_at_that_length(tmp_path: Path) -> None:
    Recorder(plugins=[Augment(resize_from=0.5)], epochs=2, out=tmp_path / "growing").fit()
    with pytest.raises(ConfigError, match="updates was 10 and is now 15"):
        Recorder(plugins=[Augment(resize_from=0.5)], epochs=3, resume=tmp_path / "growing").fit()
    Recorder(plugins=[Augment()], epochs=2, out=tmp_path / "steady").fit()
    Recorder(plugins=[Augment()], epochs=3, resume=tmp_path / "steady").fit()


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(Recorder().data("train"))


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
    with pytest.raises(ConfigError, match=r"augment.resize_from must be a number above 0, at most 1, not 0"):
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


def test_the_digits_are_learnt_with_it() -> None:
    plugins = [Augment(mixup=0.2, cutmix=1.0, erasing=0.25), AdamW(lr=0.003), Cosine()]
    result = Digits(plugins=plugins, watch=(), epochs=8, device="cpu").fit()
    assert result.metrics["accuracy"] >= 0.97


def test_the_common_suite_with_mixup() -> None:
    check_plugin(lambda: Augment(mixup=0.4, label_smoothing=0.0))
