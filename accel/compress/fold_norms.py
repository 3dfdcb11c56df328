"""BatchNorms folded into the layers before them: for good, or for the time of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from accel.compress.convolutions import can_be_folded, has_hooks, output_channels, replace_module, shared_parameters
from accel.compress.folded_norm import fold_norm
from accel.compress.input_ranks import InputRanks, input_rank, is_rank_certain

__all__ = ["fold_norms", "folded_layer", "norms_folded", "place_folded", "why_not_folded"]


def why_not_folded(model: nn.Module, layer: str, norm: str) -> str:
    """Return why a norm cannot be folded into the layer before it as the model is now, to follow its name; empty if it can.

    Args:
        model: the model.
        layer: name of the layer, whose output goes to the norm alone (`conv_norm_pairs`).
        norm: name of the norm.
    """
    try:
        before, after = model.get_submodule(layer), model.get_submodule(norm)
    except AttributeError:
        return "is gone"
    channels = output_channels(before)
    weight: Any = before._parameters.get("weight")
    if not channels or weight is None:
        return f"follows a {type(before).__name__}, and it can be folded into convolutions and Linear alone, as torch has them"
    if not can_be_folded(after, channels):
        return "is no BatchNorm that keeps statistics of so many channels"
    if has_hooks(before) or has_hooks(after):
        return "has hooks, or the layer before it has, which would be lost"
    if not weight.is_floating_point() or hasattr(weight, "full_tensor"):
        return "follows a layer whose weights are in shards" if weight.is_floating_point() else f"follows weights in {weight.dtype}"
    shared = shared_parameters(model)
    if any(id(param) in shared for module in (before, after) for param in module.parameters(recurse=False)):
        return "has weights that other layers have too, or the layer before it has"
    return ""


def folded_layer(layer: nn.Module, norm: Any) -> Any:
    """Return a layer that computes a layer and its norm in evaluation, with a weight and a bias of its own, in the layer's dtype.

    Args:
        layer: a convolution, transposed or not, or a Linear, which is left as it is.
        norm: the BatchNorm after it.
    """
    own: Any = layer
    is_transposed = getattr(layer, "transposed", False)
    with torch.no_grad():
        weight, bias = fold_norm(own.weight, own.bias, norm, int(is_transposed), own.groups if is_transposed else 1)
        assert bias is not None
        twin = copy(layer)
        twin._parameters = {
            "weight": nn.Parameter(weight.to(own.weight.dtype), requires_grad=False),
            "bias": nn.Parameter(bias.to(own.weight.dtype), requires_grad=False),
        }
    return twin


def fold_norms(model: nn.Module, pairs: Mapping[str, str]) -> tuple[nn.Module, dict[str, str]]:
    """Return a model without the norms that can be folded into the layers before them, and those by the names of the layers.

    It computes in evaluation what it did, to 1e-5 of the largest output in float32: kernels are multiplied in float64.

    Args:
        model: the model, which is changed in place. An `nn.Identity` stands where a norm was.
        pairs: the name of the norm after each layer, by the layer's name (`conv_norm_pairs`). Inputs of the layers have the rank
            `input_rank`.
    """
    folded: dict[str, str] = {}
    for name, norm in pairs.items():
        if why_not_folded(model, name, norm):
            continue
        layer: Any = model.get_submodule(name)
        twin = folded_layer(layer, model.get_submodule(norm))
        needs = layer.weight.requires_grad
        layer.weight, layer.bias = (nn.Parameter(param.detach(), needs) for param in (twin.weight, twin.bias))
        model = replace_module(model, norm, nn.Identity())
        folded[name] = norm
    return model, folded


def place_folded(model: nn.Module, layer: str, norm: str) -> nn.Module:
    """Return a model with the modules that `fold_norms` leaves of a pair. The new bias is not set.

    Raises:
        AttributeError: if the model has no such layer.
        TypeError: if nothing can be folded into it.
    """
    before: Any = model.get_submodule(layer)
    model.get_submodule(norm)
    channels = output_channels(before)
    if not channels:
        raise TypeError(f"{layer} is a {type(before).__name__}")
    if before.bias is None:
        before.bias = nn.Parameter(torch.empty(channels, device=before.weight.device, dtype=before.weight.dtype))
    return replace_module(model, norm, nn.Identity())


@contextmanager
def norms_folded(model: nn.Module, pairs: Mapping[str, str]) -> Iterator[InputRanks]:
    """Let a model compute with folded norms, and give it its own modules back at the end. For evaluation mode without gradients.

    Where the rank of an input is not certain, the norm is applied as it is to inputs of another rank.

    Args:
        model: the model, with the weights and statistics to evaluate.
        pairs: as for `fold_norms`, but of any rank.

    Yields:
        What ranks there were of the layers for which that is not certain, complete at the end.
    """
    ranks: InputRanks = {}
    own: list[tuple[str, nn.Module]] = []
    pairs = {layer: norm for layer, norm in pairs.items() if not why_not_folded(model, layer, norm)}
    try:
        for name, follower in pairs.items():
            layer, norm = model.get_submodule(name), model.get_submodule(follower)
            own += [(name, layer), (follower, norm)]
            twin: nn.Module = folded_layer(layer, norm)
            after: nn.Module = nn.Identity()
            if not is_rank_certain(norm):
                twin = RankedLayer(layer, twin)
                after = NormIfNeeded(norm, twin)
            for place, module in ((name, twin), (follower, after)):
                replace_module(model, place, module.eval())
        yield ranks
    finally:
        for place, module in own:
            now = model.get_submodule(place)
            if isinstance(now, RankedLayer) and now.ranks:
                ranks[place] = now.ranks == {input_rank(module)}
            replace_module(model, place, module)


class RankedLayer(nn.Module):
    """A layer with its norm folded in for inputs of one rank, and without it for others.

    Args:
        layer: the layer.
        folded: the same with its norm folded in.
    """

    def __init__(self, layer: nn.Module, folded: nn.Module) -> None:
        super().__init__()
        self.layer, self.folded, self.rank = layer, folded, input_rank(layer)
        self.ranks: set[int] = set()
        self.is_folded = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, of which `is_folded` tells what it is."""
        self.ranks.add(x.dim())
        self.is_folded = x.dim() == self.rank
        output: Tensor = self.folded(x) if self.is_folded else self.layer(x)
        return output

    def __getattr__(self, name: str) -> Any:
        # whoever asks a layer for its features or channels gets an answer here too
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


class NormIfNeeded(nn.Module):
    """The norm after a `RankedLayer`, applied where that has not folded it in."""

    def __init__(self, norm: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.before = [layer]  # which is no child of this one

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised output of the layer."""
        output: Tensor = x if self.before[0].is_folded else self.norm(x)
        return output
