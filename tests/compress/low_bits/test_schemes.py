"""Levels and gradients of each paper, by the formula, on grids of values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.compress.low_bits.dorefa import dorefa_input, rounded_gradient
from accel.compress.low_bits.low_bit_layer import low_bit_layer
from accel.compress.low_bits.scheme import Scheme

GRID = torch.linspace(-1.6, 1.6, 65, dtype=torch.float64)
"""Values on both sides of every border, 0 and those at +-1 among them."""


def gradient_of(function: Any, at: Tensor, given: Tensor) -> Tensor:
    leaf = at.clone().requires_grad_()
    function(leaf).backward(given)
    assert leaf.grad is not None
    return leaf.grad


def given(shape: Any) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def kernels(seed: int = 1) -> Tensor:
    return 0.8 * torch.randn(5, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", range(1, 9))
def test_inputs_of_dorefa_are_the_nearest_of_its_levels(bits: int) -> None:
    steps = 2**bits - 1
    levels = torch.arange(steps + 1, dtype=torch.float64) / steps
    expected = torch.stack([levels[(levels - value).abs().argmin()] for value in GRID.clamp(0, 1)])
    distance = (dorefa_input(GRID, bits) - GRID.clamp(0, 1)).abs()
    assert torch.allclose(distance, (expected - GRID.clamp(0, 1)).abs(), atol=1e-12), "of two that are as near, either"
    assert all((levels - value).abs().min() < 1e-12 for value in dorefa_input(GRID, bits))
    inside = ((GRID >= 0) & (GRID <= 1)).double()
    assert torch.equal(gradient_of(lambda x: dorefa_input(x, bits), GRID, given(65)), given(65) * inside)


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_dorefa_follow_section_2_3(bits: int) -> None:
    scheme, weight, steps = Scheme("dorefa", bits), GRID.view(5, 13), 2**bits - 1
    unit = weight.tanh() / (2 * weight.tanh().abs().max()) + 0.5
    assert torch.allclose(scheme.weight(weight), 2 * (unit * steps).round() / steps - 1, atol=1e-12)
    smooth = gradient_of(lambda w: 2 * (w.tanh() / (2 * w.tanh().abs().max()) + 0.5) - 1, weight, given((5, 13)))
    assert torch.allclose(gradient_of(scheme.weight, weight, given((5, 13))), smooth, atol=1e-12)


def test_one_bit_of_dorefa_has_one_scale_for_the_layer_and_hands_the_gradient_on() -> None:
    scheme, weight = Scheme("dorefa", 1), GRID.view(5, 13)
    expected = torch.where(weight >= 0, 1.0, -1.0).double() * weight.abs().mean()
    assert torch.equal(scheme.weight(weight), expected)
    assert torch.equal(gradient_of(scheme.weight, weight, given((5, 13))), given((5, 13)))


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_gradients_of_dorefa_follow_section_2_5(bits: int) -> None:
    steps, gradient = 2**bits - 1, given((6, 3, 4))
    for noise in (torch.zeros(6, 3, 4).double(), torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(2)).double() - 0.5):
        most = gradient.abs().flatten(1).max(1).values.view(6, 1, 1)
        unit = (gradient / (2 * most) + 0.5 + noise / steps).clamp(0, 1)
        expected = 2 * most * ((unit * steps).round() / steps - 0.5)
        assert torch.allclose(rounded_gradient(gradient, bits, noise), expected, atol=1e-12)
    assert torch.equal(rounded_gradient(torch.zeros(2, 3), bits, torch.full((2, 3), 0.1)), torch.zeros(2, 3))


def test_the_noise_of_gradients_leaves_their_mean() -> None:
    gradient = torch.tensor([[1.0, 0.13]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    drawn = [rounded_gradient(gradient, 4, torch.rand(1, 2, dtype=torch.float64, generator=generator) - 0.5) for _ in range(4000)]
    assert abs(float(torch.stack(drawn).mean(0)[0, 1]) - 0.13) < 0.01


def test_a_layer_rounds_the_gradient_of_its_output() -> None:
    layer = low_bit_layer(nn.Linear(4, 3), Scheme("dorefa", 32, 32, 2))
    for seed in range(5):
        layer.bias.grad = None  # type: ignore[union-attr]
        layer(torch.randn(1, 4)).backward(torch.randn(1, 3, generator=torch.Generator().manual_seed(seed)))
        gradient: Any = layer.bias.grad
        levels = 1.5 * gradient / gradient.abs().max()
        assert set(levels.mul(2).round().tolist()) <= {-3.0, -1.0, 1.0, 3.0}
        assert torch.allclose(levels, levels.mul(2).round() / 2, atol=1e-6), "4 levels, in the scale of the sample"


def test_ternary_weights_follow_equations_3_and_5() -> None:
    weight = kernels()
    expected = torch.zeros_like(weight)
    for number, kernel in enumerate(weight):
        threshold = 0.7 * kernel.abs().mean()
        above = kernel.abs() > threshold
        expected[number] = kernel.sign() * above * kernel.abs()[above].mean()
    assert torch.allclose(Scheme("twn").weight(weight), expected, atol=1e-12)
    assert all(len(kernel.unique()) == 3 for kernel in Scheme("twn").weight(weight))
    assert torch.equal(gradient_of(Scheme("twn").weight, weight, given(weight.shape)), given(weight.shape))


@pytest.mark.parametrize("kind", ["bwn", "xnor"])
def test_binary_weights_follow_equation_6_and_the_gradient_of_section_3_1(kind: Any) -> None:
    weight = torch.cat([kernels(), 2 * kernels(2)])
    alpha = weight.abs().flatten(1).mean(1).view(-1, 1, 1, 1)
    assert torch.allclose(Scheme(kind).weight(weight), torch.where(weight >= 0, alpha, -alpha), atol=1e-12)
    expected = given(weight.shape) * (1 / 18 + alpha * (weight.abs() <= 1))
    assert torch.allclose(gradient_of(Scheme(kind).weight, weight, given(weight.shape)), expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["bnn", "xnor"])
def test_signs_of_inputs_have_a_gradient_from_minus_1_to_1(kind: Any) -> None:
    scheme = Scheme(kind)
    assert torch.equal(scheme.input(GRID), torch.where(GRID >= 0, 1.0, -1.0).double())
    assert torch.equal(gradient_of(scheme.input, GRID, given(65)), given(65) * (GRID.abs() <= 1))


def test_weights_of_bnn_are_signs() -> None:
    weight = GRID.view(5, 13)
    assert torch.equal(Scheme("bnn").weight(weight), torch.where(weight >= 0, 1.0, -1.0).double())
    assert torch.equal(gradient_of(Scheme("bnn").weight, weight, given((5, 13))), given((5, 13)))


@pytest.mark.parametrize("groups", [1, 2])
def test_xnor_multiplies_by_the_mean_input_under_the_kernel(groups: int) -> None:
    """Equation 11, with K of each group: the loop by hand."""
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    actual = low_bit_layer(conv, Scheme("xnor"))(x)
    size, signs = (nn.functional.pad(each, [1] * 4) for each in (x.abs(), torch.where(x >= 0, 1.0, -1.0).double()))
    assert conv.bias is not None
    per_group, outputs = 4 // groups, 6 // groups
    for channel in range(6):
        inputs = slice(channel // outputs * per_group, (channel // outputs + 1) * per_group)
        kernel = conv.weight[channel]
        for row, column in ((0, 0), (1, 2), (2, 1)):
            window = (slice(None), inputs, slice(2 * row, 2 * row + 3), slice(2 * column, 2 * column + 3))
            product = (signs[window] * kernel.sign()).sum((1, 2, 3)) * kernel.abs().mean()
            expected = product * size[window].mean((1, 2, 3)) + conv.bias[channel]
            assert torch.allclose(actual[:, channel, row, column], expected, atol=1e-12)


def test_16_bit_weights_have_the_levels_of_their_floats() -> None:
    weight = kernels().bfloat16()
    assert torch.equal(Scheme("twn").weight(weight), Scheme("twn").weight(weight.float()).bfloat16())
