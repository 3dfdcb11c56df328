"""DoReFa-Net: weights, inputs and gradients of k bits (Zhou et al. 2016, arXiv 1606.06160)."""

from __future__ import annotations

import torch
from torch import Tensor

from accel.compress.low_bits.straight_through import at_least_float32, sign, straight_through

__all__ = ["dorefa_codes", "dorefa_gradient", "dorefa_input", "dorefa_levels", "dorefa_weight", "quantize_k"]


def quantize_k(x: Tensor, bits: int) -> Tensor:
    """Return the nearest of 2^k levels in [0, 1], with the gradient handed on as it is: section 2.2.

    r_o = round((2^k - 1) r_i) / (2^k - 1)

    Args:
        x: values in [0, 1].
        bits: k.
    """
    return straight_through(torch.round(x.detach() * (2**bits - 1)) / (2**bits - 1), x)


def dorefa_weight(weight: Tensor, bits: int) -> Tensor:
    """Return weights of k bits, (C_out, ...).

    Section 2.3. One bit: sign(w) E(|w|), with the mean over the whole layer; the gradient is handed on.
    More: 2 quantize_k(tanh(w) / (2 max |tanh(w)|) + 1/2) - 1; the gradient is that of the formula, with
    the one of `quantize_k` inside.
    """
    if bits == 1:
        return straight_through(sign(weight) * weight.detach().abs().mean(), weight)
    levels: Tensor = 2 * quantize_k(_unit_interval(weight), bits) - 1
    return levels


def dorefa_codes(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return the number of the level of each weight, uint8, and the scale of each filter, (C_out,), a factor on its levels."""
    weight = weight.detach()
    if bits == 1:
        return (weight >= 0).to(torch.uint8), weight.abs().mean().repeat(len(weight))
    codes = torch.round(_unit_interval(weight) * (2**bits - 1))
    return codes.to(torch.uint8), weight.new_ones(len(weight))


def dorefa_levels(codes: Tensor, bits: int) -> Tensor:
    """Return the levels in [-1, 1] that codes stand for, in the dtype of `codes`, a float."""
    levels: Tensor = 2 * (codes / (2**bits - 1)) - 1
    return levels


def dorefa_input(x: Tensor, bits: int) -> Tensor:
    """Return inputs of k bits in [0, 1]: section 2.4, after a clip to [0, 1], outside of which no gradient is handed on.

    The paper asks for a bounded activation before; the clip is that of the authors' own code, in Tensorpack.
    """
    return quantize_k(x.clamp(0, 1), bits)


def dorefa_gradient(x: Tensor, bits: int) -> Tensor:
    """Return x as it is; its gradient is rounded to k bits: section 2.5.

    2 m [quantize_k(dr / (2 m) + 1/2 + N(k)) - 1/2], where m is the largest |dr| of each sample and N(k) is uniform noise in
    (-0.5, 0.5) / (2^k - 1), from torch's generator.

    Args:
        x: the output of a layer, (N, ...).
        bits: k.
    """
    rounded: Tensor = _RoundedGradient.apply(x, bits)  # type: ignore[no-untyped-call]
    return rounded


def rounded_gradient(gradient: Tensor, bits: int, noise: Tensor) -> Tensor:
    """Return a gradient of k bits, in its dtype.

    Args:
        gradient: dr, (N, ...).
        bits: k.
        noise: sigma in section 2.5, in (-0.5, 0.5), of the shape of the gradient, float32 or more.
    """
    exact, steps = at_least_float32(gradient), 2**bits - 1
    most = exact.abs().amax(dim=tuple(range(1, exact.dim())), keepdim=True) if exact.dim() > 1 else exact.abs()
    unit = exact / (2 * most.clamp_min(torch.finfo(exact.dtype).tiny)) + 0.5 + noise / steps
    levels = torch.round(unit * steps).clamp(0, steps) / steps
    rounded: Tensor = 2 * most * (levels - 0.5)
    return rounded.to(gradient.dtype)


class _RoundedGradient(torch.autograd.Function):
    """The identity, with a gradient of few bits."""

    @staticmethod
    def forward(ctx, x: Tensor, bits: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.bits = bits
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        noise = torch.rand_like(at_least_float32(gradient)) - 0.5
        return rounded_gradient(gradient, ctx.bits, noise), None


def _unit_interval(weight: Tensor) -> Tensor:
    """Return tanh(w) / (2 max |tanh(w)|) + 1/2, in [0, 1]."""
    bounded = torch.tanh(weight)
    return bounded / (2 * bounded.abs().amax().clamp_min(torch.finfo(weight.dtype).tiny)) + 0.5
