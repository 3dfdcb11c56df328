"""Packed bits: what goes in comes out, layers compute what they did, and bytes are those that are promised."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from accel.compress.low_bits.low_bit_layer import low_bit_layer, plain_layer
from accel.compress.low_bits.packed_codes import count_bytes, pack_codes, unpack_codes
from accel.compress.low_bits.packed_layer import empty_packed_layer, packed_layer
from accel.compress.low_bits.scheme import Scheme

DOREFA = [Scheme("dorefa", 1, 2), *(Scheme("dorefa", bits, 4, 6) for bits in range(2, 9))]
SCHEMES = [*DOREFA, Scheme("twn"), Scheme("bwn"), Scheme("xnor"), Scheme("bnn")]
LAYERS = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 7)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect", bias=False), (2, 4, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(4, 5, (1, 2, 3)), (2, 4, 3, 4, 5)),
    "linear": (lambda: nn.Linear(7, 5), (2, 3, 7)),
}
NORMED: dict[str, Any] = {
    "conv2d": lambda bias: (lambda: nn.Conv2d(4, 6, 3, bias=bias), nn.BatchNorm2d(6), (2, 4, 5, 5)),
    "conv1d": lambda bias: (lambda: nn.Conv1d(4, 6, 3, groups=2, bias=bias), nn.BatchNorm1d(6), (2, 4, 5)),
    "linear": lambda bias: (lambda: nn.Linear(4, 6, bias=bias), nn.BatchNorm1d(6), (5, 4)),
}


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_come_out_of_their_bytes(bits: int) -> None:
    codes = torch.randint(2**bits, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(bits))
    packed = pack_codes(codes, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == count_bytes(105, bits) == -(-105 * bits // 8)
    assert torch.equal(unpack_codes(packed, bits, codes.shape), codes)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.kind}-{scheme.weight_bits}")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_packed_layer_computes_the_bits_of_the_trained_one(scheme: Scheme, name: str, dtype: Any) -> None:
    make, shape = LAYERS[name]
    trained = low_bit_layer(make().to(dtype), scheme).eval()
    x = torch.randn(shape, dtype=dtype)
    packed = packed_layer(trained, scheme)
    assert torch.equal(packed(x), trained(x))
    assert isinstance(packed, type(make())), "who asks a layer for its class or its stride gets an answer"
    again = empty_packed_layer(make().to(dtype), scheme)
    again.load_state_dict(packed.state_dict())
    assert torch.equal(again(x), trained(x))
    assert "weight" not in packed.state_dict()
    assert torch.equal(deepcopy(packed).weight, trained.level_weight(x))


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: f"{scheme.kind}-{scheme.weight_bits}")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", NORMED)
def test_a_norm_is_folded_into_scales_and_bias(scheme: Scheme, bias: bool, name: str) -> None:
    make, norm, shape = NORMED[name](bias)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.5, 2)
    trained = low_bit_layer(make(), scheme).eval()
    x = torch.randn(shape)
    expected = norm.eval()(trained(x)).detach()
    packed = packed_layer(trained, scheme, norm)
    assert float((packed(x).detach() - expected).abs().max()) <= 1e-5 * max(1, float(expected.abs().max()))
    again = empty_packed_layer(make(), scheme, has_bias=True)
    again.load_state_dict(packed.state_dict())
    assert torch.equal(again(x), packed(x))


def test_parameters_are_those_of_the_layer_and_come_back() -> None:
    conv = nn.Conv2d(3, 4, 3)
    made = low_bit_layer(conv, Scheme("twn"))
    assert made.weight is conv.weight
    assert [name for name, _ in made.named_parameters()] == ["weight", "bias"]
    back = plain_layer(made)
    assert type(back) is nn.Conv2d
    assert back.weight is conv.weight
    assert not hasattr(back, "scheme")


def test_weights_of_16_bits_are_packed_and_compute() -> None:
    layer = low_bit_layer(nn.Linear(8, 3).bfloat16(), Scheme("twn"))
    x = torch.randn(2, 8).bfloat16()
    assert torch.equal(packed_layer(layer, Scheme("twn"))(x), layer(x))
