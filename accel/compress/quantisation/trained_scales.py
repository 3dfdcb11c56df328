"""Scales of a model that was trained with `qat`: they are taken as they are, and nothing is calibrated."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from accel.compress.quantisation.integer_layer import IntegerLayer, float_layer
from accel.compress.quantisation.torchao_pt2e import LayerScales

__all__ = ["plain_model", "trained_scales"]


def trained_scales(model: nn.Module) -> dict[str, LayerScales]:
    """Return the scales of the layers of integers of a model, by their names; none without such layers."""
    scales = {}
    for name, layer in model.named_modules():
        if isinstance(layer, IntegerLayer):
            own: Any = layer
            weight_scale = own.weight_scale.clamp(min=torch.finfo(torch.float32).tiny)  # 0 of a filter whose norm makes it 0
            scales[name] = LayerScales(layer.kind, float(own.input_scale), int(own.input_zero_point), weight_scale)
    return scales


def plain_model(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose layers of integers are torch's own, with weights that are the integers times their scales."""
    plain = deepcopy(model)
    for layer in [one for one in plain.modules() if isinstance(one, IntegerLayer)]:
        float_layer(layer)
    return plain.eval()
