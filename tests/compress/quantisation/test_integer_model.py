"""Integers that are shipped are those of the training, and of torchao's converted graph."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.compress import pt2e_model
from accel.compress.quantisation.input_quantiser import fold_ranges
from accel.compress.quantisation.integer_layer import IntegerLayer
from accel.compress.quantisation.integer_model import integer_model, place_integers
from accel.compress.quantisation.levels import weight_codes
from accel.compress.quantisation.quantised_layer import place_quantised, quantisers_of
from accel.errors import ConfigError

pytest.importorskip("torchao")


class Net(nn.Module):
    """Convolutions of several kinds, one of them residual, norms, one with a negative and a zero scale, and Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(3, 8, 3, padding="same", bias=False), nn.BatchNorm2d(8, eps=1e-3)
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8)
        self.deep = nn.Conv2d(8, 8, 3, stride=2, groups=8)
        self.hidden, self.head = nn.Linear(8, 12), nn.Linear(12, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, (N, 3)."""
        x = self.bn0(self.stem(x)).relu()
        x = self.bn1(self.conv1(x)) + x
        x = self.deep(x).mean((2, 3))
        return self.head(self.hidden(x).relu())  # type: ignore[no-any-return]


LAYERS = ["stem", "conv1", "deep", "hidden", "head"]
PICTURES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(9))


def trained(kind: str = "uint8", layers: list[str] = LAYERS) -> nn.Module:
    """Return a model with layers of 8 bits whose ranges are known, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model: Any = Net()
        with torch.no_grad():
            model.bn1.weight[:2] = torch.tensor([-1.5, 0.0])
        place_quantised(model, layers, kind, "moving_average")
        for _ in range(3):
            model.train()(torch.randn(8, 3, 8, 8))
            fold_ranges(list(quantisers_of(model).values()), lambda numbers: numbers)
    return model.eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_integers_are_those_of_the_training_and_compute_the_same(kind: str) -> None:
    model = trained(kind)
    codes = {name: weight_codes(model.get_submodule(name).weight)[0] for name in LAYERS}
    with torch.no_grad():
        expected = model(PICTURES)
        made, layers, norms = integer_model(deepcopy(model))
        assert (layers, norms) == (LAYERS, {"stem": "bn0", "conv1": "bn1"})
        for name in LAYERS:
            sign = torch.sign(model.bn1.weight).view(-1, 1, 1, 1) if name == "conv1" else 1
            assert torch.equal(made.get_buffer(f"{name}.weight"), (codes[name] * sign).to(torch.int8)), name
        assert torch.allclose(made(PICTURES), expected, atol=2e-2 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_torchaos_converted_graph_has_the_same_integers_and_the_same_outputs(kind: str) -> None:
    model, _, _ = integer_model(trained(kind))
    graph = pt2e_model(model, (PICTURES[:2],))
    integers = [tensor for tensor in graph.state_dict().values() if tensor.dtype == torch.int8 and tensor.dim() > 1]
    layers = [module for module in model.modules() if isinstance(module, IntegerLayer)]
    assert len(integers) == len(layers) == 5
    for layer, theirs in zip(layers, integers, strict=True):
        assert torch.equal(layer.weight, theirs)  # type: ignore[attr-defined]
    operations = [str(node.target) for node in graph.graph.nodes]
    assert sum("quantize_per_tensor" in name for name in operations) == 10, "each input is quantised, and made a float again"
    with torch.no_grad():
        assert torch.equal(graph(PICTURES), model(PICTURES)), "also with another number of samples"


def test_layers_in_floats_stay_so() -> None:
    model, layers, norms = integer_model(trained(layers=["conv1", "head"]))
    assert (layers, norms) == (["conv1", "head"], {"conv1": "bn1"})
    graph = pt2e_model(model, (PICTURES[:2],))
    with torch.no_grad():
        assert torch.allclose(graph(PICTURES), model(PICTURES), atol=1e-2)


def test_a_model_made_anew_takes_the_integers() -> None:
    model, layers, norms = integer_model(trained())
    again = place_integers(Net().eval(), layers, "uint8", norms)
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again(PICTURES), model(PICTURES))
    assert place_integers(again, layers, "uint8", norms) is again


def test_a_model_without_integers_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the model has no layer of integers; give the one of shipped.safetensors"):
        pt2e_model(Net(), (PICTURES,))


def test_a_layer_that_has_seen_nothing_stays_in_floats() -> None:
    model: Any = Net()
    place_quantised(model, LAYERS, "uint8", "moving_average")
    made, layers, _ = integer_model(model.eval())
    assert layers == []
    assert type(made.get_submodule("stem")) is nn.Conv2d
