"""Convolutions as modules: which classes they are, and whether another module can stand in their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

__all__ = [
    "BATCH_NORMS", "CONVOLUTIONS", "FOLDABLE", "HOOKS", "can_be_folded", "has_hooks",
    "layer_output", "names_by_module", "obstacle_to_levels", "output_channels", "replace_module", "shared_parameters",
    "shares_weights",
]  # fmt: skip

CONVOLUTIONS: dict[type[_ConvNd], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
"""Number of dimensions of a kernel, by the class of the convolution. A subclass may compute something else."""
BATCH_NORMS: dict[int, type[_BatchNorm]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
FOLDABLE = (*CONVOLUTIONS, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
"""Layers that a BatchNorm can be folded into."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def can_be_folded(norm: nn.Module, channels: int) -> bool:
    """Return whether a module is a BatchNorm of so many channels that is a fixed scale and shift for each in evaluation."""
    return (
        isinstance(norm, _BatchNorm)
        and type(norm) in {*BATCH_NORMS.values(), nn.SyncBatchNorm}
        and bool(norm.num_features == channels)
        and norm.running_mean is not None
        and norm.running_var is not None
    )


def has_hooks(module: nn.Module) -> bool:
    """Return whether something looks on, or changes what goes in and out of a module: it would be lost with the module."""
    return any(getattr(module, name) for name in HOOKS)


def names_by_module(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Return all names under which each module stands in a model."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


def shared_parameters(model: nn.Module) -> set[int]:
    """Return the `id` of each parameter that several modules have."""
    owners = Counter(id(param) for module in set(model.modules()) for param in module._parameters.values() if param is not None)
    return {key for key, count in owners.items() if count > 1}


def layer_output(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the output of a convolution or a Linear, with a weight and a bias in the place of its own.

    Args:
        layer: the layer, which has stride, padding and groups.
        x: input, as torch's own layer takes it.
        weight: (C_out, ...), in the shape of the layer's.
        bias: (C_out,); None for none.
    """
    if isinstance(layer, nn.Linear):
        return functional.linear(x, weight, bias)
    output: Tensor = layer._conv_forward(x, weight, bias)
    return output


def obstacle_to_levels(layer: Any, kinds: Collection[type[nn.Module]], shipped: str) -> str:
    """Return why the weights of a layer cannot be kept as levels, to follow its name; empty if they can.

    Args:
        layer: the layer.
        kinds: classes that can; a subclass may compute something else.
        shipped: what the layer is when it is shipped, such as `packed form`.
    """
    if type(layer) not in kinds:
        return f"is a {type(layer).__name__}, and only convolutions and Linear as torch has them can be quantised"
    if has_hooks(layer) or "forward" in vars(layer):
        return f"has hooks or a forward of its own, which its {shipped} would lose"
    if not layer.weight.is_floating_point():
        return f"has weights in {str(layer.weight.dtype).removeprefix('torch.')}"
    return ""


def shares_weights(model: nn.Module, layer: nn.Module) -> bool:
    """Return whether a layer has several names in a model, or parameters that other layers have too."""
    shared = shared_parameters(model)
    return len(names_by_module(model)[layer]) > 1 or any(id(param) in shared for param in layer.parameters())


def replace_module(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put a module in the place of the one called `name`, and return the model, which is the module itself if `name` is empty."""
    if not name:
        return module
    path, _, key = name.rpartition(".")
    owner: Any = model.get_submodule(path)
    owner._modules[key] = module
    return model


def output_channels(module: nn.Module) -> int:
    """Return the number of output channels of a layer that a norm can be folded into; 0 for any other module."""
    if type(module) in FOLDABLE:
        channels: int = module.out_features if isinstance(module, nn.Linear) else module.out_channels  # type: ignore[assignment]
        return channels
    return 0
