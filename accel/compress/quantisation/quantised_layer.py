"""Convolutions and Linear with fake quantisation of inputs and weights, which train the floats behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from accel.compress.convolutions import layer_output
from accel.compress.quantisation.frozen_norms import freeze_norms, thaw_norms
from accel.compress.quantisation.input_quantiser import InputQuantiser
from accel.compress.quantisation.levels import fake_quantised_weight

__all__ = [
    "QUANTISED", "QuantisedLayer", "make_plain", "make_quantised", "place_quantised", "quantisers_of", "set_frozen",
    "without_quantised",
]  # fmt: skip


class QuantisedLayer:
    """What these layers do, beside the class of torch whose place they take: parameters keep their names."""

    input_quantiser: InputQuantiser

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the layer, of an input as torch's own layer takes it."""
        layer: Any = self
        return layer_output(layer, self.input_quantiser(x), fake_quantised_weight(layer.weight), layer.bias)


class QuantisedConv1d(QuantisedLayer, nn.Conv1d):
    """`nn.Conv1d` of 8 bits."""


class QuantisedConv2d(QuantisedLayer, nn.Conv2d):
    """`nn.Conv2d` of 8 bits."""


class QuantisedConv3d(QuantisedLayer, nn.Conv3d):
    """`nn.Conv3d` of 8 bits."""


class QuantisedLinear(QuantisedLayer, nn.Linear):
    """`nn.Linear` of 8 bits."""


QUANTISED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: QuantisedConv1d, nn.Conv2d: QuantisedConv2d, nn.Conv3d: QuantisedConv3d, nn.Linear: QuantisedLinear,
}  # fmt: skip
"""The layer of 8 bits, by the class of torch whose place it takes. A subclass may compute something else, and stays."""


def make_quantised(layer: nn.Module, quantiser: InputQuantiser) -> None:
    """Let a layer of one of the classes in `QUANTISED` compute in 8 bits. It stays the same object, with its hooks."""
    own: Any = layer
    own.__class__ = QUANTISED[type(layer)]
    own.input_quantiser = quantiser.train(layer.training)


def make_plain(layer: nn.Module) -> None:
    """Let a layer of `make_quantised` be torch's own again."""
    own: Any = layer
    del own.input_quantiser
    own.__class__ = next(plain for plain, kind in QUANTISED.items() if isinstance(layer, kind))


def place_quantised(model: nn.Module, layers: Sequence[str], kind: str, observer: str) -> None:
    """Let layers of these names compute in 8 bits, in place. Those that do already stay as they are.

    One that `without_quantised` has made plain gets its own quantiser again, with the range that it had.

    Raises:
        AttributeError: if the model has no such layer.
        KeyError: if it is of another class.
    """
    for name in layers:
        layer: Any = model.get_submodule(name)
        if not isinstance(layer, QuantisedLayer):
            own = vars(layer).pop("input_quantiser", None)
            make_quantised(layer, InputQuantiser(kind, layer.weight.device, observer) if own is None else own)


def set_frozen(model: nn.Module, frozen: bool) -> list[InputQuantiser]:
    """Let ranges, and the statistics of BatchNorms, stand still or move; return the quantisers that observe."""
    quantisers = list(quantisers_of(model).values())
    for quantiser in quantisers:
        quantiser.observes = not frozen
    (freeze_norms if frozen else thaw_norms)(model)
    return [] if frozen else quantisers


def without_quantised(model: nn.Module) -> nn.Module:
    """Return a model whose layers of 8 bits and frozen norms are torch's own again, in place, until `place_quantised`.

    Each layer keeps its quantiser where torch sees no module, and no tensor.
    """
    for name, quantiser in quantisers_of(model).items():
        layer = model.get_submodule(name)
        make_plain(layer)
        vars(layer)["input_quantiser"] = quantiser
    thaw_norms(model)
    return model


def quantisers_of(model: nn.Module) -> Mapping[str, InputQuantiser]:
    """Return the quantisers of inputs, by the names of their layers."""
    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, QuantisedLayer))
    return {name: layer.input_quantiser for name, layer in layers}
