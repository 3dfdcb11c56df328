"""Which BatchNorm sees the output of which layer, and nobody else does: found by following the forward pass, without data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, fx, nn

from accel.compress.branched_conv import BranchedConv
from accel.compress.convolutions import can_be_folded, has_hooks, names_by_module, output_channels

__all__ = ["conv_norm_pairs"]


def conv_norm_pairs(model: nn.Module) -> dict[str, str]:
    """Return the name of the BatchNorm that follows a layer, by the layer's name: convolutions, transposed ones and Linear.

    A pair is a layer called once whose output goes to a norm called once, and nowhere else, in training and in evaluation. The
    forward pass is followed by `torch.fx` in a copy without memory. What cannot be followed, as code that asks for the numbers in a
    tensor, is followed module by module inside: a pair is found where the module that calls both can be.

    Args:
        model: the model, which is left as it is.
    """
    try:
        copy = copy_without_memory(model)
    except Exception:  # of the user's own objects: a lock, an open file
        return {}
    names = names_by_module(copy)
    pairs: dict[str, str] = {}
    with torch.random.fork_rng(devices=[]):
        by_mode = [dict(pairs_inside(copy.train(mode), "")) for mode in (True, False)]
    for layer, norm in by_mode[0].items():
        modules = copy.get_submodule(layer), copy.get_submodule(norm)
        used_once = all(len(names[module]) == 1 for module in modules)
        if by_mode[1].get(layer) == norm and used_once and not any(map(has_hooks, modules)):
            pairs[layer] = norm
    return pairs


def pairs_inside(module: nn.Module, path: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs in a module whose name in the model is `path`; none inside a `BranchedConv`, which has its own."""
    if isinstance(module, BranchedConv):
        return
    try:
        graph = LayerTracer().trace(module)
    except Exception:  # whatever the user's code raises for what is no tensor
        for name, child in module.named_children():
            yield from pairs_inside(child, f"{path}.{name}" if path else name)
        return
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    for node in graph.nodes:
        if node.op != "call_module" or len(node.users) != 1:
            continue
        follower = next(iter(node.users))
        layer, norm = str(node.target), str(follower.target)
        if follower.op != "call_module" or follower.args != (node,) or follower.kwargs:
            continue
        channels = output_channels(module.get_submodule(layer))
        if calls[layer] == calls[norm] == 1 and not read & {layer, norm} and can_be_folded(module.get_submodule(norm), channels):
            yield (f"{path}.{layer}", f"{path}.{norm}") if path else (layer, norm)


class LayerTracer(fx.Tracer):
    """A tracer to which a convolution with branches is one layer."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is not followed inside."""
        return isinstance(m, BranchedConv) or super().is_leaf_module(m, module_qualified_name)


def copy_without_memory(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose parameters and buffers have shapes and no numbers."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    memo: dict[int, Any] = {}
    for tensor in tensors:
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return deepcopy(model, memo)
