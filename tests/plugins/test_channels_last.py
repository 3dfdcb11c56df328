from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.channels_last import ChannelsLast
from accel.plugins.ema import EMA
from accel.plugins.sgd import SGD
from accel.report.result import Result
from accel.tasks.models.resnet import small
from accel.testing import fit_toy


class Pictures(Trainer):
    """A small residual network on random pictures in (batch, 3, 8, 8) float32, contiguous."""

    def model(self) -> nn.Module:
        return small(num_classes=3, side=8)

    def data(self, split: str) -> TensorDataset:
        generator = torch.Generator().manual_seed(len(split))
        return TensorDataset(torch.randn(12, 3, 8, 8, generator=generator), torch.arange(12) % 3)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


class Keep(Watch):
    """Keeps the run."""

    def begin(self, run: Run) -> None:
        self.run = run


class Double(Pictures):
    """The same in float64."""

    def model(self) -> nn.Module:
        return super().model().double()

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return super().loss(model, (batch[0].double(), batch[1]))


def fit(*plugins: Part, kind: type[Pictures] = Pictures, **settings: Any) -> Result:
    return kind(**{"plugins": plugins, "watch": (), "epochs": 2, "batch_size": 4, **settings}).fit()


def is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


def distance(actual: Result, plain: Result) -> float:
    pairs = zip(actual.model.parameters(), plain.model.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("optim", [SGD, AdamW, lambda: SGD(fused=False)])
def test_the_sums_are_those_of_contiguous(optim: Any) -> None:
    # in float64, as BatchNorm over four samples makes a float32 rounding grow 10,000 times in six updates
    actual, plain = fit(optim(), ChannelsLast(), kind=Double), fit(optim(), kind=Double)
    assert distance(actual, plain) <= 1e-9
    assert actual.metrics["loss"] == pytest.approx(plain.metrics["loss"], rel=1e-9)


def test_float32_agrees_to_rounding() -> None:
    actual, plain = (fit(*plugins, epochs=1, batch_size=12) for plugins in ([ChannelsLast()], []))
    assert distance(actual, plain) <= 1e-5, "after one update at lr=0.01"


@pytest.mark.parametrize("plugins", [[], [AMP()], [Accumulate(steps=2)], [AMP(dtype="float16", force=True)]], ids=str)
def test_everything_along_the_way_is_laid_out(plugins: list[Part]) -> None:
    seen: list[tuple[bool, bool]] = []

    class Looking(Pictures):
        def model(self) -> nn.Module:
            net = super().model()
            for module in net.modules():
                if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                    module.register_forward_hook(lambda module, args, out: seen.append((is_last(args[0]), is_last(out))))
            return net

    keep = Keep()
    result = Looking(plugins=[ChannelsLast(), SGD(), EMA(), keep, *plugins], watch=(), batch_size=4).fit()
    wide = [weight for weight in result.model.parameters() if weight.dim() == 4]
    state = keep.run.parts.optim.state_dict()["state"].values()
    average = keep.run.parts.average.state_dict()["average"].values()
    assert all(map(is_last, wide))
    assert all(is_last(value) for entry in state for value in entry.values() if value.dim() == 4)
    assert all(is_last(value) for value in average if value.dim() == 4)
    assert all(out for _, out in seen)
    layers = sum(isinstance(module, nn.Conv2d | nn.BatchNorm2d) for module in result.model.modules())
    assert [given for given, _ in seen].count(False) == len(seen) // layers, "the pictures themselves, once per forward pass"


def test_resumed_it_ends_with_the_same_bits_and_layout(tmp_path: Path) -> None:
    whole = fit(ChannelsLast(), AdamW(), EMA())
    out = tmp_path / "run"

    class Stop(Watch):
        def after(self, step: int, loss: Tensor) -> None:
            if step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(ChannelsLast(), AdamW(), EMA(), Stop(), out=out)
    rest = fit(ChannelsLast(), AdamW(), EMA(), resume=out)
    assert distance(whole, rest) == 0
    assert all(is_last(weight) for weight in rest.model.parameters() if weight.dim() == 4)
    saved = load_file(out / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in rest.model.state_dict().items())


def test_the_plan_counts_the_weights() -> None:
    keep = Keep()
    fit(ChannelsLast(), keep)
    assert keep.run.plan.facts["memory format"] == "channels_last for 12 of 38 weights"


def test_without_a_convolution_it_warns() -> None:
    with pytest.warns(AccelWarning, match=r"channels_last has no effect: the model has no 2-d convolution"):
        fit_toy([ChannelsLast()])


def test_a_layer_whose_gradient_overwrites_memory_is_refused() -> None:
    """Its memory is overwritten in torch alone too; so the layer is looked for, and not run."""

    def layout(layer: nn.Conv2d) -> nn.Module:
        return ChannelsLast().model(nn.Sequential(nn.Conv2d(3, 4, 3), layer))

    with pytest.raises(ConfigError, match=r"the gradient of 1 \(1 x 1, stride 2, 4 channels\) overwrites memory on a CPU"):
        layout(nn.Conv2d(4, 8, 1, stride=2))
    for safe in (nn.Conv2d(4, 8, 1), nn.Conv2d(4, 8, 3, stride=2), nn.Conv2d(16, 8, 1, stride=2)):
        layout(safe)
    layout(nn.Conv2d(4, 8, 1, stride=2).requires_grad_(False))
