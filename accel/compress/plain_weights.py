"""Weights that a parametrisation computes anew in each call, computed once for a model that trains no more."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["fix_parametrised"]


def fix_parametrised(model: nn.Module) -> int:
    """Put plain weights in the place of parametrised ones, with the values that they have now; return how many there were.

    These are weight_norm, spectral_norm, orthogonal and a user's own of `torch.nn.utils.parametrize`, and the older weight_norm and
    spectral_norm, which hang on hooks.

    Args:
        model: the model, in evaluation mode, which is changed in place.

    Source: `torch.nn.utils.parametrize.remove_parametrizations`.
    """
    count = 0
    for module in model.modules():
        if parametrize.is_parametrized(module):
            kind = type(module)  # one for a module and its copies, from which removing takes the weight's property away
            own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
            module.__class__ = type(kind.__name__, kind.__bases__, own)
            for name in list(getattr(module, "parametrizations", {})):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
                count += 1
        count += sum(_fix_hooked(module, hook) for hook in list(module._forward_pre_hooks.values()))
    return count


def _fix_hooked(module: nn.Module, hook: Any) -> bool:
    """Take out a hook of the older functions, which know each other by its name; return whether it was one."""
    kinds = {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}
    old = kinds.get(type(hook).__name__, "")
    if not old or not type(hook).__module__.startswith("torch.nn.utils."):
        return False
    with torch.no_grad():
        getattr(nn.utils, f"remove_{old}")(module, hook.name)
    return True
