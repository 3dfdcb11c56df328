"""Which parameters of a model are hidden matrices: what Muon is for."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def hidden_matrices(model: nn.Module) -> list[str]:
    """The names of the matrices between a model's input and its output, as in `model.named_parameters()`.

    These are the matrices and the kernels of convolutions that are multiplied with what a layer is given, and lead to another
    layer. Left out are: tensors of one dimension, or with one row or one column; what an embedding shares; kernels of grouped,
    depthwise and transposed convolutions, which are no matrix; tensors of modules that contain modules (learned positions,
    class tokens), but for attention's; and the output layer, which is the last of them, unless it belongs to a block of which
    the model has several (then the output is made of something else, such as the embedding).
    """
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, param in module.named_parameters(recurse=False):
            owners.setdefault(id(param), []).append((module, name))
    shapes = {name: param.shape for name, param in model.named_parameters() if _multiplies(param, owners[id(param)])}
    last = list(shapes)[-1:]
    return [name for name in shapes if name not in last or _in_stack(name, shapes)]


def _multiplies(param: Tensor, owners: list[tuple[nn.Module, str]]) -> bool:
    """Whether a parameter is a matrix that its layer's input is multiplied with."""
    if param.dim() < 2 or min(param.shape[0], param.shape[1:].numel()) < 2:
        return False
    return all(_takes(param, module) for module, _ in owners)


def _takes(param: Tensor, module: nn.Module) -> bool:
    if isinstance(module, EMBEDDINGS):
        return False
    if isinstance(module, CONVOLUTIONS):
        return module.groups == 1
    leaf = next(module.children(), None) is None or isinstance(module, nn.MultiheadAttention)
    return leaf and param.dim() == 2


def _in_stack(name: str, shapes: dict[str, torch.Size]) -> bool:
    """Whether a layer belongs to a numbered block (`blocks.3.mlp.down.weight`) that has a twin with the same layer."""
    words = name.split(".")[:-1]
    for place, word in enumerate(words[:-1]):
        if word.isdigit():
            twin = re.compile(re.escape(".".join(words[:place])) + r"\.?\d+\." + re.escape(name.split(".", place + 1)[-1]))
            if any(other != name and twin.fullmatch(other) and shapes[other] == shapes[name] for other in shapes):
                return True
    return False
