"""Its arithmetic against the papers' stands in tests/data/augment."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel.device.rng import Randomness
from accel.errors import ConfigError
from accel.parts import Micro, Part, Window
from accel.plugins.accumulate import Accumulate
from accel.plugins.augment import Augment
from accel.testing import HostReads, fit_toy
from accel.testing.toy_run import Spy, Stop, Toy
from tests.support.augmented_batches import ALL, LABELS, PICTURES, Recorder, ready


def apply(plugin: Augment, batch: Any, scale: float = 1.0, number: int = 0) -> Any:
    return plugin.batch(batch, scale, 0, number)


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

    trained, theirs = fit_toy([Augment()]), Spy()
    Smoothed(plugins=[theirs], watch=(), epochs=2, batch_size=4, seed=3, device="cpu").fit()
    for a, b in zip(trained.losses, theirs.losses, strict=True):
        assert torch.allclose(a, b, rtol=1e-5)
    assert not torch.allclose(trained.losses[0], fit_toy([]).losses[0])


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
    ahead = whole[5 * epochs + 2 * windows :]
    assert same(rest[-len(ahead) :], ahead), "what the task itself has collected before comes back as well"


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
    actual = apply(plugin, Pair(PICTURES, LABELS, ["a"]), 0.5)
    assert type(actual) is Pair
    assert actual.names == ["a"]
    assert actual.labels.shape == (5, 3)
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
