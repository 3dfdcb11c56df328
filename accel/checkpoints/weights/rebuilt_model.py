"""The model that a user's code makes, with the modules that saved weights belong to, inside of its wrappers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from accel.checkpoints.weights.weight_names import unwrap
from accel.parts import Shape
from accel.parts.model_shape.model_structure import NO_KINDS, Structure, rebuilt

__all__ = ["changed_inside", "rebuild"]


def rebuild(model: nn.Module, structure: Structure, kinds: Mapping[str, type[Shape]] = NO_KINDS) -> nn.Module:
    """Return a model with the modules of a structure. The arguments, and what it raises, are those of `rebuilt`."""
    return changed_inside(model, lambda inner: rebuilt(inner, structure, kinds)) if structure else model


def changed_inside(model: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Return a model after a change of the module inside of all wrappers around the whole of it, which are kept.

    Args:
        model: the model.
        change: is given the module inside, which has plain names, and returns it, changed, or another in its place.
    """
    inner = unwrap(model)
    changed = change(inner)
    if changed is inner:
        return model
    for module in model.modules():
        for name, child in module.named_children():
            if child is inner:
                module._modules[name] = changed
    return changed if model is inner else model
