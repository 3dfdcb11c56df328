"""A convolution that is a sum of branches while it trains, and one convolution in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from accel.compress.convolutions import CONVOLUTIONS
from accel.compress.folded_norm import fold_norm

__all__ = ["MAIN", "Branch", "BranchedConv"]

MAIN = "main"
"""Name of the branch that is the user's own convolution."""


class Branch(nn.Module):
    """One branch: a convolution and the norm after it, either of which it may lack.

    Args:
        conv: the convolution, without padding; None for the identity.
        norm: the norm; None for none.
        margin: entries that are added to each side of the input, dimension by dimension, the first first; below 0 they are cut off.
        steps: of the entries that the convolution sees in each dimension; empty for every one. A kernel of one point with a stride
            is one without over these. oneDNN's own gradient of it overwrites memory for few channels in channels_last
            (github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def __init__(
        self, conv: _ConvNd | None, norm: _BatchNorm | None, margin: Sequence[int] = (), steps: Sequence[int] = ()
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv, self.norm = conv, norm
        self.margin = [entries for side in reversed(margin) for entries in (side, side)] if any(margin) else []
        self.seen: Any = (..., *(slice(None, None, step) for step in steps)) if steps else None

    def forward(self, x: Tensor) -> Tensor:
        """Return what the branch adds to the output of the convolution, (N, C, ...)."""
        if self.margin:
            x = functional.pad(x, self.margin)
        if self.seen is not None:
            x = x[self.seen]
        if self.conv is not None:
            x = self.conv(x)
        return x if self.norm is None else self.norm(x)


class BranchedConv(nn.Module):
    """Convolution with branches beside it, each with a norm of its own, over the same input. Their sum is its output.

    In evaluation mode it computes one convolution with the merged kernel, as it is shipped; the branches stay as they are.

    Args:
        conv: the convolution, which becomes the branch `main`.
        norm: the norm that followed it, and belongs to that branch; None for none.
        branches: the others by name, each of which sees what `margins` gives it of the input.
    """

    def __init__(self, conv: _ConvNd, norm: _BatchNorm | None, branches: dict[str, Branch]) -> None:
        super().__init__()
        self.add_module(MAIN, Branch(conv, norm))
        for name, branch in branches.items():
            self.add_module(name, branch)
        self.training = conv.training

    @property
    def conv(self) -> Any:
        """The user's own convolution."""
        return self._modules[MAIN]._modules["conv"]  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the convolution, (N, C_out, ...), of an input (N, C_in, ...)."""
        conv = self.conv
        if not self.training:
            weight, bias = self.merged()
            output: Tensor = conv._conv_forward(x, weight, bias)
            return output
        main, *others = self._modules.values()
        total: Tensor = main(x)  # type: ignore[misc]
        if others and conv.padding_mode != "zeros":
            x = functional.pad(x, conv._reversed_padding_repeated_twice, conv.padding_mode)
        for branch in others:
            total = total + branch(x).to(total.dtype)  # type: ignore[misc]  # of an identity under autocast
        return total

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """Return kernel and bias of the one convolution that computes the sum in evaluation. They are added in float64."""
        conv = self.conv
        kernel: Tensor | float = 0.0
        bias: Tensor | float | None = None
        for branch in self._modules.values():
            assert isinstance(branch, Branch)
            weight = identity_kernel(conv) if branch.conv is None else branch.conv.weight
            weight, shift = fold_norm(weight, None if branch.conv is None else branch.conv.bias, branch.norm)
            kernel = kernel + functional.pad(weight, margins_of_kernel(weight, conv.kernel_size))
            bias = bias if shift is None else shift if bias is None else bias + shift
        assert isinstance(kernel, Tensor)
        return kernel.to(conv.weight.dtype), bias.to(conv.weight.dtype) if isinstance(bias, Tensor) else None

    def merge(self) -> _ConvNd:
        """Return that convolution, as a module with weights of its own."""
        conv, device = self.conv, self.conv.weight.device
        with torch.no_grad():
            weight, bias = self.merged()
            merged = plain_conv(conv, bias=bias is not None, device=device)
            merged.weight.copy_(weight)
            if bias is not None:
                assert merged.bias is not None
                merged.bias.copy_(bias)
        return merged

    def __getattr__(self, name: str) -> Any:
        # whoever asks a convolution for its stride, its kernel or its channels gets an answer here too
        if name in ATTRIBUTES:
            return getattr(self.conv, name)
        return super().__getattr__(name)


ATTRIBUTES = frozenset(
    ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode", "transposed")
)
"""What a convolution tells of itself beside its weights."""


def plain_conv(conv: Any, bias: bool, device: Any = None) -> _ConvNd:
    """Return a convolution of the same make as another, with a bias or without, and weights that are not set."""
    make: Any = nn.utils.skip_init
    made: _ConvNd = make(
        next(kind for kind in CONVOLUTIONS if isinstance(conv, kind)), conv.in_channels, conv.out_channels, conv.kernel_size,
        conv.stride, conv.padding, conv.dilation, conv.groups, bias, conv.padding_mode, device=device or conv.weight.device,
        dtype=conv.weight.dtype,
    )  # fmt: skip
    made.train(conv.training)
    return made


def identity_kernel(conv: Any) -> Tensor:
    """Return the kernel of one point per channel that hands each channel of its input on, (C_out, C_in / groups, 1, ...)."""
    weight = conv.weight
    kernel: Tensor = weight.new_zeros(*weight.shape[:2], *[1] * len(conv.kernel_size))
    channels = torch.arange(weight.shape[0], device=weight.device)
    kernel[channels, channels % weight.shape[1]] = 1.0
    return kernel


def margins_of_kernel(weight: Tensor, size: Sequence[int]) -> list[int]:
    """Return, as `functional.pad` wants it, what makes a kernel as large as `size`, its centre in the centre."""
    sides = [(wanted - own) // 2 for own, wanted in zip(weight.shape[2:], size, strict=True)]
    return [entries for side in reversed(sides) for entries in (side, side)]
