from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import accel
from accel.tasks.evaluation import average_views
from accel.tasks.images import Images
from accel.tasks.models.airnet import SHIFT_SCALE, WHITENING_FILTERS, AirNet, ShiftNorm, whitening


def correlated(count: int = 64) -> torch.Tensor:
    """Pictures (count, 3, 12, 12) whose neighbours and colours are alike, of mean 0."""
    rough = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(rough, 3, 1, 1)
    return smooth + 0.3 * smooth.mean(1, keepdim=True)


def test_the_first_convolution_makes_patches_white() -> None:
    pictures, net = correlated(), AirNet(10, width=4)
    net.init_from_pictures(pictures)
    seen = net.whiten(pictures).detach().transpose(0, 1).flatten(1)
    half = WHITENING_FILTERS // 2
    covariance = seen[:half] @ seen[:half].T / seen.shape[1]
    assert torch.allclose(covariance, torch.eye(half), atol=0.1)
    assert torch.equal(seen[half:], -seen[:half])
    variances = torch.linalg.vector_norm(whitening(pictures).flatten(1), dim=1)[:half]
    assert (variances.diff() > 0).all(), "the direction of the largest variance, which shrinks the most, comes first"


def test_what_is_not_a_direction_does_not_become_noise() -> None:
    assert whitening(torch.zeros(2, 3, 4, 4)).abs().max() < 50


def test_it_is_frozen_once_it_is_set_and_only_then() -> None:
    net = AirNet(10, width=4)
    assert net.whiten.weight.requires_grad
    net.init_from_pictures(correlated())
    assert not net.whiten.weight.requires_grad
    assert net.whiten.bias is not None
    assert net.whiten.bias.requires_grad


def test_a_shift_moves_64_times_as_fast_under_sgd() -> None:
    torch.manual_seed(0)
    actual, plain = ShiftNorm(3), nn.BatchNorm2d(3, momentum=0.4)
    x, weight = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    for norm in (actual, plain):
        (norm(x) * weight).sum().backward()
    moved = SHIFT_SCALE * (0.1 * actual.bias.grad)  # type: ignore[operator]
    assert torch.allclose(moved, 64 * 0.1 * plain.bias.grad)  # type: ignore[operator]
    assert torch.equal(actual.running_var, plain.running_var)  # type: ignore[arg-type]
    actual.eval(), plain.eval()
    assert torch.allclose(actual(x), plain(x))


@pytest.mark.parametrize("side", [9, 16, 32])
def test_any_side_from_9_on(side: int) -> None:
    assert AirNet(7, width=4)(torch.randn(2, 3, side, side)).shape == (2, 7)


def test_convolutions_begin_as_the_identity() -> None:
    conv = AirNet(10, width=8).stage2[0]
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(conv(x)[:, :8], x)


def test_the_task_shows_it_training_pictures(pictures: Path) -> None:
    task = Images(root=str(pictures), size=16, model="airnet_s")
    net = task.model()
    assert not net.whiten.weight.requires_grad  # type: ignore[union-attr]
    assert task.initial_pictures().shape == (17, 16, 16, 3)
    again = task.model()
    assert torch.equal(net.whiten.weight, again.whiten.weight)  # type: ignore[union-attr, arg-type]


class OldNet(nn.Linear):
    """A model with the old name of the method."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(3, num_classes)

    def show(self, pictures: torch.Tensor) -> None:
        self.shape = pictures.shape


def test_the_old_name_of_the_method_still_works_and_warns(pictures: Path) -> None:
    task = Images(root=str(pictures), size=16, model=f"{__name__}.OldNet")
    with pytest.warns(DeprecationWarning, match=r"^OldNet.show is now called init_from_pictures; the old name goes in accel "):
        net = task.model()
    assert net.shape == (17, 3, 16, 16)


def test_views_are_means_over_what_is_named() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(75, 4))
    x = torch.randn(3, 3, 5, 5)
    assert torch.equal(average_views(net, x, 1), net(x))
    both = (net(x) + net(x.flip(3))) / 2
    assert torch.allclose(average_views(net, x, 2), both)
    framed = nn.functional.pad(x, (1, 1, 1, 1), "reflect")
    moved = [framed[..., :5, :5], framed[..., 2:, 2:]]
    mean = sum((net(y) + net(y.flip(3))) / 2 for y in moved) / 2
    assert torch.allclose(average_views(net, x, 6), (both + mean) / 2, atol=1e-6)


def test_the_experiment_trains_on_any_folder(pictures: Path, tmp_path: Path) -> None:
    words = ["+experiment=cifar10_94", f"task.root={pictures}", f"plugins.resident.cache={tmp_path / 'cache'}", "epochs=1"]
    config = accel.compose([*words, "device=cpu", "batch_size=8"])
    assert config.task.settings["model"] == "airnet"
    assert len(config.plugins) == 9
    result = config.trainer(watch=()).fit()
    assert (result.updates, result.samples) == (3, 17)
    assert set(result.metrics) == {"loss", "accuracy"}
