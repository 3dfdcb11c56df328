"""Lowbit: weights of one or two bits, and inputs and gradients of few, while the model trains.

Each chosen layer computes with a few levels of its weights; behind them are the
float weights, which the optimiser moves by a straight-through gradient. Names
of parameters stay what they are, for `freeze`, `groups` and `init`. The first
and the last layer stay in floats. The run directory has the model with packed
bits too, in `shipped.safetensors`: a scale for each filter, and the BatchNorm
after a layer folded into it.

Helps   size on disk: 32 weights take 4 bytes (binary) or 8 (ternary), and not
        128; each filter 4 more. The plan says how many bytes it is.
Hurts   accuracy, more so in short runs. `xnor` and `bnn` see the signs of their
        inputs alone: a ReLU before them leaves none, and is refused; write
        conv, norm, conv. To `dorefa` with `input_bits`, inputs below 0 are 0 and
        those above 1 are 1.
Costs   no memory less while it trains: floats are what is trained, and the levels
        of each layer, floats too, and its inputs on levels stay beside them until
        the backward pass. What is shipped is small on disk and while it is
        loaded, and no faster: each forward pass makes floats of the bits of a
        layer, and computes with them. torch has no kernels for bits.
Source  dorefa: Zhou et al., arXiv 1606.06160. twn: Li et al., arXiv 1605.04711.
        bwn, xnor: Rastegari et al., arXiv 1603.05279. bnn: Courbariaux et al.,
        arXiv 1602.02830. A norm is folded into the scale and the bias of each
        filter, as github.com/666DZY666/micronet does beside inputs in floats; what
        it does beside binary ones, the sign of the scale alone, is the same signs.
Exact   Without a norm folded in, the shipped layer computes the bits of the
        trained one; with it, to 1e-5, by which an input at the border of two
        levels may come to the other side. After a Linear, or a convolution of 1
        dimension, a norm is folded in if an evaluation has seen that it normalises
        the channels: inputs are (N, C), or (N, C, L). `gradient_bits` of dorefa draws noise
        for each micro-batch, as the paper does: accumulation then equals the
        big batch in the mean alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from accel.compress.input_ranks import ranks_seen
from accel.compress.low_bits.choose_layers import LAYERS, Chosen, choose_layers
from accel.compress.low_bits.layer_order import layers_in_order
from accel.compress.low_bits.low_bit_layer import LowBitWeights
from accel.compress.low_bits.low_bit_model import pack_model, place_low_bit, place_packed, shipped_bytes, without_low_bit
from accel.compress.low_bits.scheme import FLOAT, Scheme
from accel.errors import ConfigError, listed
from accel.parts import Quantisation, Replacement, Shipped
from accel.parts.shared.name_patterns import matching_some
from accel.values import Count

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["LowBit"]


@dataclass(eq=False)
class LowBit(Quantisation):
    """Layers with weights, inputs and gradients of few bits.

    Args:
        kind: scheme: dorefa (k bits), twn (ternary), bwn (binary), xnor and bnn (binary, with binary inputs).
        layers: patterns for the names of layers; null takes all convolutions and Linear.
        keep: patterns for layers that stay in floats; null keeps the first and the last in the order of use.
        weight_bits: bits of a weight, 1 to 8, or 32 for floats (kind=dorefa).
        input_bits: bits of an input, 1 to 8, or 32 for floats (kind=dorefa).
        gradient_bits: bits of the gradient of an output, 1 to 8, or 32 for floats (kind=dorefa).
    """

    kind: Literal["dorefa", "twn", "bwn", "xnor", "bnn"] = "twn"
    layers: list[str] | None = None
    keep: list[str] | None = None
    weight_bits: Count = 1
    input_bits: Count = 32
    gradient_bits: Count = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_bits", "input_bits", "gradient_bits"):
            bits = getattr(self, name)
            if bits > 8 and bits != FLOAT:
                raise ConfigError(f"{self.name}.{name} must be 1 to 8 bits, or {FLOAT} for floats, not {bits}")
        self.scheme = Scheme(self.kind, self.weight_bits, self.input_bits, self.gradient_bits)
        self.chosen = Chosen([], {}, {}, {})
        self.bytes = (0, 0)
        """Bytes of the weights of the chosen layers, as they are shipped and as floats."""

    def model(self, model: nn.Module, structure: dict[str, Any] | None) -> nn.Module:
        if (structure or {}).get("packed"):
            raise ConfigError(
                f"{self.name}: the weights that the run begins with are packed bits, which cannot be trained; begin with the run "
                "that made them, by init=RUN in place of its shipped.safetensors"
            )
        model = without_low_bit(model)
        used = layers_in_order(model, LAYERS)
        names = [layer.name for layer in used]
        named, kept = (self.matches(setting, names) for setting in ("layers", "keep"))
        try:
            self.chosen = choose_layers(model, self.scheme, used, named, kept)
        except ConfigError as error:
            raise ConfigError(f"{self.name}: {error}") from None
        for layer, norm in (structure or {}).get("norms", {}).items():  # what an evaluation has shown
            if self.chosen.doubtful.get(layer) == norm:
                self.chosen.norms[layer] = self.chosen.doubtful.pop(layer)
        self.bytes = shipped_bytes(model, self.chosen.layers, self.scheme)
        return place_low_bit(model, self.chosen.layers, self.scheme)

    def matches(self, setting: str, names: list[str]) -> list[str] | None:
        """Return the layers that the patterns in a setting match; None if it is null."""
        patterns: list[str] | None = getattr(self, setting)
        if patterns is None:
            return None
        return [name for pattern in patterns for name in matching_some(pattern, names, f"{self.name}.{setting}", "layer")]

    def change(self, run: Run) -> Sequence[Replacement] | None:
        if self.kind == "bnn":
            clip_weights(run)
        return None

    def changes_model(self) -> bool:
        return self.kind == "bnn"

    def changes_shape(self) -> bool:
        return False

    def loses_zeros(self) -> Collection[str]:
        return () if self.scheme.has_zero else self.chosen.layers

    @contextmanager
    def evaluating(self, run: Run) -> Iterator[None]:
        with ranks_seen(run.unwrapped_model, self.chosen.doubtful) as ranks:
            yield
        for layer, fits in ranks.items():
            norm = self.chosen.doubtful.pop(layer)
            if fits:
                self.chosen.norms[layer] = norm

    def structure(self) -> dict[str, Any]:
        return {"scheme": list(self.scheme), "layers": self.chosen.layers, "norms": self.chosen.norms} if self.chosen.layers else {}

    @classmethod
    def rebuild(cls, model: nn.Module, structure: dict[str, Any]) -> nn.Module:
        scheme, layers = Scheme(*structure["scheme"]), structure["layers"]
        try:
            if structure.get("packed"):
                return place_packed(model, layers, scheme, structure["norms"])
            return place_low_bit(model, layers, scheme)
        except (AttributeError, KeyError) as error:
            raise ConfigError(
                f"it has layers of few bits, such as {layers[0]}, and this model has no such layer; give the model of the run"
            ) from error

    @classmethod
    def undone(cls, model: nn.Module) -> nn.Module:
        return without_low_bit(model)

    @classmethod
    def ship(cls, model: nn.Module, structure: dict[str, Any]) -> Shipped:
        scheme = Scheme(*structure["scheme"])
        if structure.get("packed") or not scheme.code_bits:
            return Shipped(model, structure)
        model, folded = pack_model(model, structure["layers"], scheme, structure["norms"])
        return Shipped(model, structure | {"norms": folded, "packed": True})

    def capture_blocker(self) -> str:
        return ""

    def plan_notes(self) -> Mapping[str, str]:
        few, floats = self.bytes
        size = f", shipped in {few:,} bytes in place of {floats:,}" if self.scheme.code_bits else ""
        left = [f"{name}, which {reason}" for name, reason in self.chosen.left.items()]
        kept = f"; in floats: {listed(left, 2)}" if left else ""
        return {"lowbit": f"{self.kind} in {len(self.chosen.layers)} layers{size}{kept}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.kind == "dorefa":
            if any(bits != FLOAT for bits in self.scheme[1:]):
                return []
            return [f"{self.name} has no effect: weights, inputs and gradients are all of {FLOAT} bits"]
        return [
            f"{self.name}.{name} has no effect with kind={self.kind}, whose paper has its own"
            for name in self.changed("weight_bits", "input_bits", "gradient_bits")
        ]


def clip_weights(run: Run) -> None:
    """Clip trained weights of binarised layers to [-1, 1], and their masters (Courbariaux et al., algorithm 1: after an update)."""
    params = dict(run.parts.precision.params)
    with torch.no_grad():
        for name, module in run.unwrapped_model.named_modules():
            if isinstance(module, LowBitWeights) and (param := params.get(f"{name}.weight".removeprefix("."))) is not None:
                layer: Any = module
                for weight in (param, layer.weight):
                    weight.clamp_(-1, 1)
