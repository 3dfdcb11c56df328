from __future__ import annotations

import pytest
import torch

from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import resnet18, resnet50, small


@pytest.mark.parametrize(("model", "parameters"), [(resnet18, 11_689_512), (resnet50, 25_557_032)])
def test_published_sizes(model: type, parameters: int) -> None:
    """The counts of torchvision's models of the same names."""
    assert sum(param.numel() for param in model(1000).parameters()) == parameters


@pytest.mark.parametrize(("side", "last"), [(32, 4), (64, 8), (65, 3), (224, 7)])
def test_the_stem_follows_the_side(side: int, last: int) -> None:
    for model in (small, resnet18):
        net = model(10, side).eval()
        sides = []
        net.layer4.register_forward_hook(lambda *args, seen=sides: seen.append(args[-1].shape[-1]))
        assert net(torch.zeros(1, 3, side, side)).shape == (1, 10)
        assert sides == [last]


def test_names_are_torchvisions() -> None:
    names = dict(resnet50(10).named_parameters())
    wanted = ["conv1.weight", "bn1.bias", "layer1.0.downsample.1.weight", "layer2.3.conv3.weight", "layer4.2.bn3.weight", "fc.bias"]
    assert set(wanted) <= set(names)
    assert names["layer3.0.conv2.weight"].shape == (256, 256, 3, 3)


def test_gpt_takes_any_length_up_to_its_context() -> None:
    model = GPT(vocabulary=11, context=8, layers=2, heads=2, width=12)
    for length in (1, 5, 8):
        assert model(torch.zeros(3, length, dtype=torch.int64)).shape == (3, length, 11)


def test_gpt_begins_near_the_uniform_guess() -> None:
    torch.manual_seed(0)
    logits = GPT(vocabulary=256, context=32, layers=4, heads=4, width=128)(torch.randint(256, (4, 32)))
    assert logits.std() < 0.5
