"""The parameters of a model that Muon is for: its hidden matrices."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

__all__ = ["CONVOLUTIONS", "EMBEDDINGS", "hidden_matrices"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def hidden_matrices(model: nn.Module) -> list[str]:
    """Return the names of the matrices between a model's input and its output, as in `model.named_parameters()`.

    These are matrices and kernels of convolutions that multiply the input of a layer and lead to another layer. Left out are:

    - tensors of one dimension, or with one row or one column;
    - tensors that an embedding shares;
    - kernels of grouped, depthwise and transposed convolutions, which are no matrix;
    - tensors of modules that contain modules (learned positions, class tokens), except attention's;
    - the output layer, which is the last of the matrices, unless it belongs to a block of which the model has several: then the
      output is made of something else, such as the embedding.

    Args:
        model: any module.

    Source: Jordan et al., kellerjordan.github.io/posts/muon, which keeps embeddings, heads, gains and biases for AdamW.
    """
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, param in module.named_parameters(recurse=False):
            owners.setdefault(id(param), []).append((module, name))
    shapes = {name: param.shape for name, param in model.named_parameters() if _multiplies(param, owners[id(param)])}
    last = list(shapes)[-1:]
    return [name for name in shapes if name not in last or _in_stack(name, shapes)]


def _multiplies(param: Tensor, owners: list[tuple[nn.Module, str]]) -> bool:
    """Return whether a parameter is a matrix that multiplies the input of its layers."""
    if param.dim() < 2 or min(param.shape[0], param.shape[1:].numel()) < 2:
        return False
    return all(_takes(param, module) for module, _ in owners)


def _takes(param: Tensor, module: nn.Module) -> bool:
    """Return whether a module multiplies its input by a parameter of this shape."""
    if isinstance(module, EMBEDDINGS):
        return False
    if isinstance(module, CONVOLUTIONS):
        return module.groups == 1
    leaf = next(module.children(), None) is None or isinstance(module, nn.MultiheadAttention)
    return leaf and param.dim() == 2


def _in_stack(name: str, shapes: dict[str, torch.Size]) -> bool:
    """Return whether a layer belongs to a numbered block (`blocks.3.mlp.down.weight`) that has a twin with an equal layer."""
    words = name.split(".")[:-1]
    for place, word in enumerate(words[:-1]):
        if word.isdigit():
            twin = re.compile(re.escape(".".join(words[:place])) + r"\.?\d+\." + re.escape(name.split(".", place + 1)[-1]))
            if any(other != name and twin.fullmatch(other) and shapes[other] == shapes[name] for other in shapes):
                return True
    return False
