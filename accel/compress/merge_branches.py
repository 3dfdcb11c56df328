"""A model without its branches: each branched convolution becomes the one that computes the same."""

from __future__ import annotations

from typing import Any

from torch import nn

from accel.compress.branched_conv import BranchedConv, plain_conv
from accel.compress.convolutions import names_by_module, replace_module

__all__ = ["merge_branches", "place_merged"]


def merge_branches(model: nn.Module) -> nn.Module:
    """Return a model in which each `BranchedConv` is one convolution, with a bias, that computes what it computes in evaluation.

    Args:
        model: the model, which is changed in place. Its parameters are no longer those that were trained.
    """
    for module, names in names_by_module(model).items():
        if isinstance(module, BranchedConv):
            merged = module.merge()
            for name in names:
                model = replace_module(model, name, merged)
    return model


def place_merged(model: nn.Module, name: str, norm: str | None) -> nn.Module:
    """Return a model with the modules that `merge_branches` leaves, where the branches were made of a plain convolution.

    Args:
        model: the model as its user makes it, which is changed in place.
        name: name of the convolution, which gets a bias. Its weights are not set.
        norm: name of the norm that followed it; None for none.
    """
    conv: Any = model.get_submodule(name)
    if norm is not None:
        model = replace_module(model, norm, nn.Identity())
    return replace_module(model, name, plain_conv(conv, bias=True))
