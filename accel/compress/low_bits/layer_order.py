"""Layers in the order in which a model uses them, and those whose input has no sign: found without data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import fx, nn
from torch.nn import functional

from accel.compress.branched_conv import BranchedConv
from accel.compress.conv_norm_pairs import LayerTracer, copy_without_memory

__all__ = ["UsedLayer", "layers_in_order"]

RELUS = (nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Softmax)
RELU_NAMES = {"relu", "relu_", "relu6", "sigmoid", "softmax"}
"""What gives numbers of 0 and more, as functions and as methods."""
KEEPING = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Identity,
)  # fmt: skip
KEEPING_NAMES = {
    "flatten", "mean", "view", "reshape", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "dropout", "add", "iadd", "cat",
}  # fmt: skip
"""What keeps them so."""


class UsedLayer(NamedTuple):
    """A layer and its use."""

    name: str
    has_sign: bool
    """Whether its input may be below 0, as far as can be told."""


def layers_in_order(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[UsedLayer]:
    """Return the layers of some classes in the order of their first use.

    The forward pass is followed by `torch.fx` in a copy without memory; what cannot be followed, as code that asks for the numbers
    in a tensor, module by module inside, in the order in which modules are defined.

    Args:
        model: the model, which is left as it is.
        kinds: classes of layers. A `BranchedConv` is one layer, whatever is in it.

    Returns:
        The layers. Those that the forward pass does not reach stand before the last one.
    """
    uses: dict[str, UsedLayer] = {}
    try:
        copy = copy_without_memory(model)
    except Exception:  # of the user's own objects: a lock, an open file
        copy = model
    else:
        with torch.random.fork_rng(devices=[]):
            for layer in used_inside(copy, "", kinds):
                before = uses.get(layer.name, layer)
                uses[layer.name] = layer._replace(has_sign=layer.has_sign or before.has_sign)
    branched = tuple(f"{name}." for name, module in copy.named_modules() if isinstance(module, BranchedConv))
    unseen = [
        UsedLayer(name, True)
        for name, module in copy.named_modules()
        if isinstance(module, kinds) and name not in uses and not name.startswith(branched)
    ]
    used = list(uses.values())
    return [*used[:-1], *unseen, *used[-1:]]  # what the forward pass does not reach is not its end


def used_inside(module: nn.Module, path: str, kinds: tuple[type[nn.Module], ...]) -> Iterator[UsedLayer]:
    """Yield each use of a layer in a module whose name in the model is `path`."""
    if isinstance(module, kinds):
        yield UsedLayer(path, True)
        return
    try:
        graph = LayerTracer().trace(module)
    except Exception:  # whatever the user's code raises for what is no tensor
        for name, child in module.named_children():
            yield from used_inside(child, f"{path}.{name}" if path else name, kinds)
        return
    positive: set[fx.Node] = set()
    for node in graph.nodes:
        if _is_positive(node, module, positive):
            positive.add(node)
        if node.op == "call_module" and isinstance(module.get_submodule(node.target), kinds):
            has_sign = not node.args or node.args[0] not in positive
            yield UsedLayer(f"{path}.{node.target}" if path else node.target, has_sign)


def _is_positive(node: fx.Node, module: nn.Module, positive: set[fx.Node]) -> bool:
    """Return whether the output of a node is never below 0, where `positive` are the nodes before it of which that holds."""
    name = ""
    if node.op == "call_module":
        called = module.get_submodule(str(node.target))
        makes, keeps = isinstance(called, RELUS), isinstance(called, KEEPING)
    elif node.op in ("call_function", "call_method"):
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
        makes, keeps = name in RELU_NAMES or node.target is functional.relu, name in KEEPING_NAMES
    else:
        return False
    inputs = node.all_input_nodes
    if node.op == "call_function" and name in ("add", "iadd") and len(inputs) < len(node.args):
        return makes  # a number may be below 0
    return makes or (keeps and bool(inputs) and all(one in positive for one in inputs))
