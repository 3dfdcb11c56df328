"""Channels that can only go together, followed by Torch-Pruning through residuals, concatenations and groups of convolutions.

Source: Fang et al., DepGraph: Towards Any Structural Pruning, arXiv 2301.12900; torch-pruning 1.6.1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from accel.compress.pruning.channel_groups import ChannelGroup, Place, Ties, groups_of
from accel.compress.pruning.layer_channels import IN, OUT, Side, channel_dims, count_channels, is_grouped
from accel.errors import ConfigError

__all__ = ["trace_channels"]


def trace_channels(model: nn.Module, call: Callable[[nn.Module], list[Tensor]]) -> list[ChannelGroup]:
    """Return the groups of a model's channels, in the order of its layers.

    Args:
        model: the model, which is left in another mode, and whose parameters must all need gradients.
        call: `call(model)`, a forward pass that returns the tensors which come of it.

    Raises:
        ConfigError: if Torch-Pruning cannot follow the model.
    """
    import torch_pruning  # an extra; the plugin says so if it is missing

    paths = {module: path for path, module in model.named_modules()}
    ties = Ties()
    _tie_within_layers(model, ties)
    for training in (False, True):  # a branch may be there in training alone, or be left out at random

        def forward(model: nn.Module, _: Any, training: bool = training) -> list[Tensor]:
            return [
                tensor * 1 for tensor in call(model.train(training)) if tensor.requires_grad
            ]  # so that each ends in an operation

        graph = torch_pruning.DependencyGraph()
        try:
            with warnings.catch_warnings(), torch.enable_grad():
                warnings.simplefilter("ignore")
                graph.build_dependency(model, (), forward_fn=forward, verbose=False)
                for group in _groups(graph):
                    _tie(graph, group, paths, ties)
        except ConfigError:
            raise
        except Exception as error:  # whatever a library trips over in a model that it does not know
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ConfigError(
                f"prune: Torch-Pruning cannot follow the channels of {type(model).__name__} ({why}); prune single weights instead: "
                "prune.mode=weights"
            ) from error
    return groups_of(model, ties)


def _groups(graph: Any) -> Iterator[Any]:
    """Yield what Torch-Pruning couples with each side of each layer: of two that reach one channel it names the first alone."""
    for module in list(graph.module2node):
        if not isinstance(module, _ConvNd | nn.Linear | nn.Embedding):
            continue
        pruner = graph.get_pruner_of_module(module)
        if pruner is None:
            continue
        for function, count in (
            (pruner.prune_out_channels, pruner.get_out_channels(module)),
            (pruner.prune_in_channels, pruner.get_in_channels(module)),
        ):
            if count is not None:
                yield graph.get_pruning_group(module, function, list(range(count)))


def _tie(graph: Any, group: Any, paths: dict[nn.Module, str], ties: Ties) -> None:
    """Tie the channels that a group couples, and note those that have to stay."""
    root = group[0].dep.target.module
    root_path, root_side = paths[root], _side(graph, root, group[0].dep.handler)
    for item in group.items:
        target = item.dep.target
        module, path = target.module, paths.get(target.module, "")
        reason = ""
        if target.type == graph.ops.OPTYPE.OUTPUT:
            reason = "the model gives it out"
        elif target.type == graph.ops.OPTYPE.PARAMETER:
            reason = "a parameter of no layer goes with it"
        elif module in paths and not channel_dims(module):
            reason = f"{path} ({type(module).__name__}) needs it whole"
        elif module not in paths:
            continue
        side = _side(graph, module, item.dep.handler)
        for root_channel, channel in zip(item.root_idxs, item.idxs, strict=True):
            first = _place(root, root_path, root_side, root_channel)
            place = _place(module, path, side, channel) if not reason else first
            if not reason and place[2] >= count_channels(module, side):
                reason = f"Torch-Pruning loses its channels on the way to {path}"
            if reason:
                ties.keep_whole(first, reason)
            else:
                ties.tie(first, place)


def _side(graph: Any, module: nn.Module, handler: Any) -> Side:
    return OUT if graph.is_out_channel_pruning_fn(handler) or IN not in channel_dims(module) else IN


def _place(module: nn.Module, path: str, side: Side, channel: int) -> Place:
    """Return a channel as a place: one that a grouped convolution reads is counted within its group."""
    return path, side, channel % count_channels(module, side) if side == IN and is_grouped(module) else channel


def _tie_within_layers(model: nn.Module, ties: Ties) -> None:
    """Tie what goes together within a layer: one channel of each group of a convolution, all channels of a GroupNorm's group."""
    for path, layer in model.named_modules():
        if is_grouped(layer) and channel_dims(layer):
            size = layer.out_channels // layer.groups
            for channel in range(size, layer.out_channels):
                ties.tie((path, OUT, channel % size), (path, OUT, channel))
        elif isinstance(layer, nn.GroupNorm):
            size = layer.num_channels // layer.num_groups
            for channel in range(layer.num_channels):
                ties.tie((path, OUT, channel - channel % size), (path, OUT, channel))
