"""The model that is exported: the trained one without what only training needs, its norms folded."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from accel.checkpoints.weights.weight_names import unwrap
from accel.compress import conv_norm_pairs, fold_norms
from accel.compress.fold_norms import norms_folded
from accel.errors import ConfigError
from accel.parts.model_shape.model_structure import Structure, ship

__all__ = ["shipped_model"]


def shipped_model(model: nn.Module, structure: Structure, args: Sequence[Tensor], keywords: Sequence[str]) -> nn.Module:
    """Return a copy of a trained model as it is shipped: branches merged, masks made zeros, norms folded.

    Args:
        model: the model, on the CPU in evaluation mode, which is left as it is.
        structure: what training has done to its modules.
        args: inputs of one call, by which is seen that the inputs of a layer have their channels where its norm has them.
        keywords: names of the last of them, those that are given by keyword.

    Raises:
        ConfigError: if the model cannot be copied.
    """
    try:
        copy = deepcopy(unwrap(model)).eval()
    except Exception as error:  # of the user's own objects: a lock, an open file
        raise ConfigError(f"the model cannot be copied ({' '.join(str(error).split())[:200]}), and so not be exported") from error
    shipped, _ = ship(copy, structure)
    pairs = conv_norm_pairs(shipped)
    positional = len(args) - len(keywords)
    with torch.no_grad(), norms_folded(shipped, pairs) as ranks:
        shipped(*args[:positional], **dict(zip(keywords, args[positional:], strict=True)))
    folded, _ = fold_norms(shipped, {layer: norm for layer, norm in pairs.items() if ranks.get(layer, True)})
    return folded.eval().requires_grad_(False)
