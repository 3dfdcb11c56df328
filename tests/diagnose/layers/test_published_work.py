"""Parameters and work of models whose numbers are published: ResNet-18 and MobileNetV2, at 224 x 224."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from accel.diagnose import advise as advising
from accel.diagnose.advise import advise
from accel.diagnose.ceilings.machine_ceilings import MachineCeilings


def conv(taken: int, made: int, size: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(taken, made, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(made)]


class Residual(nn.Module):
    def __init__(self, layers: list[nn.Module], shortcut: nn.Module | None, activation: bool) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = nn.Sequential(*layers), shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        added = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return F.relu(added) if self.activation else added


def resnet18() -> nn.Module:
    """He et al., arXiv 1512.03385; torchvision: 11,689,512 parameters, 1.814 G multiplications and additions."""
    layers: list[nn.Module] = [*conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    taken = 64
    for made, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        shortcut = nn.Sequential(*conv(taken, made, 1, stride)) if stride > 1 else None
        layers.append(Residual([*conv(taken, made, 3, stride), nn.ReLU(), *conv(made, made)], shortcut, activation=True))
        taken = made
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def mobilenet_v2() -> nn.Module:
    """Sandler et al., arXiv 1801.04381; torchvision: 3,504,872 parameters, 0.301 G multiplications and additions."""
    layers: list[nn.Module] = [*conv(3, 32, 3, 2), nn.ReLU6()]
    taken = 32
    blocks = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for factor, made, count, first in blocks:
        for stride in (first, *(1 for _ in range(count - 1))):
            wide = factor * taken
            body = [*conv(taken, wide, 1), nn.ReLU6()] if factor > 1 else []
            body += [*conv(wide, wide, 3, stride, wide), nn.ReLU6(), *conv(wide, made, 1)]
            layers += [Residual(body, None, activation=False)] if stride == 1 and taken == made else body
            taken = made
    return nn.Sequential(*layers, *conv(320, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


@pytest.mark.parametrize(
    ("make", "parameters", "multiplications"), [(resnet18, 11_689_512, 1.814e9), (mobilenet_v2, 3_504_872, 0.301e9)]
)
def test_published_numbers(
    make: Callable[[], nn.Module], parameters: int, multiplications: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ceilings = MachineCeilings("a machine", 1, {"float32": 1e11}, {1 << 27: 2e10}, 1e-6)
    monkeypatch.setattr(advising, "kept_ceilings", lambda device, dtypes: (ceilings, "given"))
    model, pictures = make().eval(), torch.zeros(1, 3, 224, 224)
    advice = advise(model, pictures, seconds=0.001)
    assert advice.parameters == parameters
    assert advice.flops / 2 == pytest.approx(multiplications, rel=0.002), "a multiplication and an addition are two"
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(pictures)
    assert advice.flops == counter.get_total_flops()
