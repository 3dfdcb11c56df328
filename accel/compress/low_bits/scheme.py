"""A scheme: which levels weights, inputs and gradients have, by which paper."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import Tensor

from accel.compress.low_bits.bnn import bnn_codes, bnn_input, bnn_weight
from accel.compress.low_bits.bwn import bwn_codes, bwn_levels, bwn_weight
from accel.compress.low_bits.dorefa import dorefa_codes, dorefa_gradient, dorefa_input, dorefa_levels, dorefa_weight
from accel.compress.low_bits.straight_through import at_least_float32
from accel.compress.low_bits.twn import twn_codes, twn_levels, twn_weight
from accel.compress.low_bits.xnor import input_scale, xnor_input

__all__ = ["FLOAT", "Kind", "Scheme"]

Kind = Literal["dorefa", "twn", "bwn", "xnor", "bnn"]
FLOAT = 32
"""Bits of what is not quantised."""


class Scheme(NamedTuple):
    """Levels of a layer. The bits count for DoReFa alone: the other papers have theirs."""

    kind: Kind
    weight_bits: int = 1
    input_bits: int = FLOAT
    gradient_bits: int = FLOAT

    @property
    def code_bits(self) -> int:
        """Bits of a weight as it is shipped; 0 if weights stay floats."""
        if self.kind == "dorefa":
            return self.weight_bits % FLOAT
        return 2 if self.kind == "twn" else 1

    @property
    def takes_signs(self) -> bool:
        """Whether a layer sees the signs of its input alone."""
        return self.kind in ("xnor", "bnn")

    @property
    def has_zero(self) -> bool:
        """Whether a weight that is zero stays zero. DoReFa has an even number of levels, and none of them is 0."""
        return self.kind == "twn" or not self.code_bits

    def weight(self, weight: Tensor) -> Tensor:
        """Return the levels of weights times their scales, (C_out, ...), with the paper's gradient, in the dtype of the weights."""
        exact = at_least_float32(weight)
        if self.kind == "dorefa":
            levels = dorefa_weight(exact, self.weight_bits) if self.code_bits else exact
        else:
            levels = {"twn": twn_weight, "bnn": bnn_weight}.get(self.kind, bwn_weight)(exact)
        return levels.to(weight.dtype)

    def codes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the code of each weight, uint8 in its shape, and the scale of each filter, (C_out,), float32 or float64."""
        exact = at_least_float32(weight.detach())
        if self.kind == "dorefa":
            return dorefa_codes(exact, self.weight_bits)
        return {"twn": twn_codes, "bnn": bnn_codes}.get(self.kind, bwn_codes)(exact)

    def levels(self, codes: Tensor) -> Tensor:
        """Return the levels, from -1 to 1, that codes stand for, in the dtype of `codes`, a float."""
        if self.kind == "dorefa":
            return dorefa_levels(codes, self.weight_bits)
        return twn_levels(codes) if self.kind == "twn" else bwn_levels(codes)

    def input(self, x: Tensor) -> Tensor:
        """Return the input of a layer on its levels, with the paper's gradient."""
        if self.kind == "dorefa":
            return x if self.input_bits == FLOAT else dorefa_input(x, self.input_bits)
        return {"xnor": xnor_input, "bnn": bnn_input}.get(self.kind, _as_it_is)(x)

    def input_scale(self, layer: Any, x: Tensor) -> Tensor | None:
        """Return what the product is multiplied by at each position, of the layer's own input; None for nothing."""
        return input_scale(layer, x) if self.kind == "xnor" else None

    def output(self, y: Tensor) -> Tensor:
        """Return the output of a layer as it is; its gradient may be rounded."""
        is_rounded = self.kind == "dorefa" and self.gradient_bits != FLOAT and y.requires_grad
        return dorefa_gradient(y, self.gradient_bits) if is_rounded else y


def _as_it_is(x: Tensor) -> Tensor:
    return x
