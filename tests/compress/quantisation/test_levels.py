"""Levels of 8 bits are torchao's, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accel.compress.quantisation.input_quantiser import InputQuantiser, fold_ranges
from accel.compress.quantisation.levels import (
    EPSILON,
    INPUT_LEVELS,
    WEIGHT_LEVELS,
    fake_quantised_weight,
    input_scale,
    weight_codes,
)

pt2e = pytest.importorskip("torchao.quantization.pt2e")
CPU = torch.device("cpu")


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", INPUT_LEVELS)
def test_ranges_scales_and_levels_of_inputs_are_torchaos(kind: str) -> None:
    least, most = INPUT_LEVELS[kind]
    dtype = getattr(torch, kind)
    theirs = pt2e.FakeQuantize(
        observer=pt2e.MovingAverageMinMaxObserver, quant_min=least, quant_max=most, dtype=dtype, qscheme=torch.per_tensor_affine
    )
    ours = InputQuantiser(kind, CPU).train()
    for step in range(6):
        x = draw(step, 3, 7) * (step + 1) + step - 2
        expected = theirs(x)
        ours(x)
        fold_ranges([ours], lambda numbers: numbers)
        observer = theirs.activation_post_process
        assert torch.equal(ours.low, observer.min_val.view(1))
        assert torch.equal(ours.high, observer.max_val.view(1))
        assert torch.equal(ours.scale, theirs.scale)
        assert torch.equal(ours.zero_point, theirs.zero_point)
        assert torch.equal(ours.eval()(x), expected)
        ours.train()


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (4, 6), (3, 2, 5)])
@pytest.mark.parametrize("size", [1.0, 1e-9, 1e6])
def test_scales_and_levels_of_weights_are_torchaos(shape: tuple[int, ...], size: float) -> None:
    weight = draw(1, *shape) * size
    weight[0] = 0
    theirs = pt2e.FakeQuantize(
        observer=pt2e.MovingAveragePerChannelMinMaxObserver, quant_min=WEIGHT_LEVELS[0], quant_max=WEIGHT_LEVELS[1],
        dtype=torch.int8, qscheme=torch.per_channel_symmetric, averaging_constant=1.0, eps=EPSILON,
    )  # fmt: skip
    expected = theirs(weight)
    assert torch.equal(fake_quantised_weight(weight), expected)
    codes, scale = weight_codes(weight)
    assert torch.equal(scale, theirs.scale)
    quantised = torch.ops.quantized_decomposed.quantize_per_channel(
        weight, scale, torch.zeros_like(scale, dtype=torch.int32), 0, *WEIGHT_LEVELS, torch.int8
    )
    assert torch.equal(codes, quantised)
    assert torch.equal(codes.float() * scale.view(-1, *[1] * (len(shape) - 1)), expected)


def test_the_gradient_is_handed_on_within_the_range() -> None:
    weight = draw(2, 4, 3).requires_grad_()
    fake_quantised_weight(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones(4, 3))  # type: ignore[arg-type]
    quantiser = InputQuantiser("uint8", CPU).train()
    quantiser(torch.tensor([0.0, 1.0]))
    fold_ranges([quantiser], lambda numbers: numbers)
    x = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    quantiser.eval()(x).sum().backward()
    assert torch.equal(x.grad, torch.tensor([0.0, 1.0, 0.0]))  # type: ignore[arg-type]


def test_inputs_are_as_they_are_until_a_range_is_known() -> None:
    quantiser = InputQuantiser("uint8", CPU).train()
    x = draw(3, 9)
    assert torch.equal(quantiser(x), x)
    quantiser.seen.clear()
    quantiser(torch.tensor([torch.inf]))
    fold_ranges([quantiser], lambda numbers: numbers)
    assert torch.equal(quantiser.eval()(x), x), "what is not finite is no range"
    assert int(quantiser.known) == 0  # type: ignore[arg-type]


def test_a_window_is_one_step_of_the_average_whatever_its_micro_batches_are() -> None:
    whole, parts = InputQuantiser("uint8", CPU).train(), InputQuantiser("uint8", CPU).train()
    for step in range(4):
        x = draw(step, 8)
        whole(x)
        for part in (*x.split(2), x[:2]):  # the first again, as when it is computed a second time
            parts(part)
        for quantiser in (whole, parts):
            fold_ranges([quantiser], lambda numbers: numbers)
        assert torch.equal(whole.scale, parts.scale)
        assert torch.equal(whole.zero_point, parts.zero_point)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_keep_theirs(dtype: torch.dtype) -> None:
    quantiser = InputQuantiser("int8", CPU).train()
    x = draw(4, 6).to(dtype)
    quantiser(x)
    fold_ranges([quantiser], lambda numbers: numbers)
    assert quantiser(x).dtype == dtype
    assert fake_quantised_weight(draw(5, 2, 3).to(dtype)).dtype == dtype


def test_a_scale_is_never_zero() -> None:
    scale, zero_point = input_scale(torch.zeros(2), torch.tensor([0.0, 1e-30]), "uint8")
    assert torch.equal(scale, torch.full((2,), EPSILON))
    assert torch.equal(zero_point, torch.zeros(2, dtype=torch.int32))
