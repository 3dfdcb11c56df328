"""The model that is exported: the trained one without what only training needs, its norms folded."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from accel.checkpoints.weights.weight_names import unwrap
from accel.compress import conv_norm_pairs, fold_norms
from accel.compress.fold_norms import norms_folded
from accel.compress.low_bits.decoded_layer import decode_packed
from accel.compress.plain_weights import fix_parametrised
from accel.errors import ConfigError
from accel.export.example import ModelCall
from accel.parts.model_shape.model_structure import Structure, ship

__all__ = ["shipped_model"]


def shipped_model(model: nn.Module, structure: Structure, call: ModelCall) -> nn.Module:
    """Return a copy of a trained model as it is shipped: branches merged, masks made zeros, norms folded, weights plain.

    Args:
        model: the model, on the CPU in evaluation mode, which is left as it is.
        structure: what training has done to its modules.
        call: one call, by which is seen that the inputs of a layer have their channels where its norm has them.

    Raises:
        ConfigError: if the model cannot be copied.
    """
    try:
        copy = deepcopy(unwrap(model)).eval()
    except Exception as error:  # of the user's own objects: a lock, an open file
        raise ConfigError(f"the model cannot be copied ({' '.join(str(error).split())[:200]}), and so not be exported") from error
    shipped, _ = ship(copy, structure)
    fix_parametrised(shipped)
    shipped = decode_packed(shipped)
    pairs = conv_norm_pairs(shipped)
    with torch.no_grad(), norms_folded(shipped, pairs) as ranks:
        shipped(*call.args, **call.kwargs)
    folded, _ = fold_norms(shipped, {layer: norm for layer, norm in pairs.items() if ranks.get(layer, True)})
    return folded.eval().requires_grad_(False)
