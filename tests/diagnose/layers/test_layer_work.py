"""What a layer computes and moves: counted by hand, and by torch's own counter; and whose operator is whose, backward too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from accel.diagnose.layers.layer_table import Layer, make_layers
from accel.diagnose.layers.model_pass import pass_of
from accel.diagnose.layers.operator_work import memory_of
from accel.diagnose.layers.trace import trace
from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import BasicBlock, ResNet


class Attention(nn.Module):
    """Scaled dot products alone, as the model's own work."""

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(queries, keys, values)


class Anew(nn.Module):
    """A layer whose forward pass is computed anew in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(nn.Linear(4, 8), nn.Tanh()), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        return self.second(checkpoint(self.first, x, use_reentrant=False))


def layers_of(model: nn.Module, batch: Any) -> dict[str, Layer]:
    traced = trace(pass_of(model, batch, None), seconds=0.001)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    return {layer.path: layer for layer in make_layers(traced.operations, kinds, ())}


def forward_and_backward(layer: Layer) -> tuple[tuple[int, int], tuple[int, int]]:
    parts = [[one for one in layer.operations if one.backward is backward] for backward in (False, True)]
    return tuple((sum(one.flops for one in part), sum(one.bytes for one in part)) for part in parts)  # type: ignore[return-value]


def test_a_convolution() -> None:
    # 2 samples of 3x8x8, padded, 16 kernels of 3x3x3
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1))
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    (flops, moved), (flops_back, moved_back) = forward_and_backward(layers_of(model, x)["0"])
    given, made, weight, bias = 2 * 3 * 64, 2 * 16 * 64, 16 * 27, 16
    assert flops == 2 * made * 27
    assert moved == 4 * (given + made + weight + bias)
    assert flops_back == 2 * flops, "as much for the input's gradient, and for the weight's"
    assert moved_back == 4 * (made + given + weight) + 4 * (given + weight + bias)


def test_a_linear_layer() -> None:
    model = nn.Sequential(nn.Linear(32, 10))
    (flops, moved), (flops_back, moved_back) = forward_and_backward(layers_of(model, torch.randn(4, 32))["0"])
    assert flops == 2 * 4 * 32 * 10
    assert moved == 4 * (4 * 32 + 32 * 10 + 10 + 4 * 10)
    assert flops_back == flops, "the batch needs no gradient"
    # the weight's gradient: both factors and the result; the bias's: the gradient and its sum
    assert moved_back == 4 * (40 + 128 + 320) + 4 * (40 + 10)


def test_attention() -> None:
    batch, heads, length, width = 2, 3, 16, 8
    tensors = [torch.randn(batch, heads, length, width, requires_grad=True) for _ in range(3)]
    (flops, moved), (flops_back, _) = forward_and_backward(layers_of(Attention().eval(), tuple(tensors))[""])
    product = 2 * batch * heads * length * length * width
    assert flops == 2 * product, "queries times keys, and weights times values"
    size = batch * heads * length * width
    assert moved == 4 * (3 * size + size + batch * heads * length), "and the logarithms of sums, for the backward pass"
    assert flops_back == 0, "nothing in it is trained"


@pytest.mark.parametrize("groups", [2, 4, 16])
def test_a_convolution_in_groups_has_no_more_work_backward(groups: int) -> None:
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=groups, bias=False))
    (flops, _), (flops_back, _) = forward_and_backward(layers_of(model, torch.randn(2, 16, 4, 4, requires_grad=True))["0"])
    assert flops == 2 * 2 * 16 * 16 * 9 * 16 // groups
    assert flops_back == 2 * flops


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (ResNet(BasicBlock, (1, 1), 10, 16, width=8), torch.randn(2, 3, 16, 16)),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Flatten(), nn.LazyLinear(3)),
            torch.randn(2, 3, 6, 6),
        ),
    ],
    ids=["resnet", "transposed"],
)
def test_torchs_counter_agrees(model: nn.Module, batch: Tensor) -> None:
    model(batch)
    with FlopCounterMode(display=False) as counter:
        output = model(batch)
        (output[0] if isinstance(output, tuple) else output).sum().backward()
    assert sum(layer.flops for layer in layers_of(model, batch).values()) == counter.get_total_flops() > 0


def test_a_lookup_reads_the_rows_that_it_takes() -> None:
    model = nn.Sequential(nn.Embedding(100_000, 16))
    (_, moved), _ = forward_and_backward(layers_of(model, torch.zeros(2, 3, dtype=torch.int64))["0"])
    assert moved == 8 * 6 + 2 * 4 * 6 * 16


def test_what_is_expanded_counts_once() -> None:
    assert memory_of(torch.zeros(3, 1).expand(3, 100)) == 12
    assert memory_of(torch.zeros(8, 8)[:, :3]) == 96
    assert memory_of(torch.zeros(0, 4)) == 0
    assert memory_of(torch.eye(3).to_sparse()) == 3 * (2 * 8 + 4)


def test_each_operator_is_of_the_module_that_runs_it() -> None:
    model = GPT(vocabulary=32, context=8, layers=2, heads=2, width=16)
    layers = layers_of(model, torch.zeros(2, 8, dtype=torch.int64))
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            assert {one.backward for one in layers[path].operations} == {False, True}, path
            assert not any("attention" in one.name for one in layers[path].operations)
    homes = {(layer.kind, one.backward) for layer in layers.values() for one in layer.operations if "attention" in one.name}
    assert len(homes) == 2, "of one kind of module, forward and backward"


def test_what_is_computed_anew_belongs_to_its_layer() -> None:
    layers = layers_of(Anew(), torch.randn(3, 4))
    products = [one for one in layers["first.0"].operations if one.flops]
    assert [one.backward for one in products] == [False, True, True], "forward, once more, and the weight's gradient"
    assert sum(one.flops > 0 for one in layers["second"].operations) == 3
