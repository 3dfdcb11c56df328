"""Names of a model's weights as its user wrote it, without those of wrappers: `_orig_mod.` of torch.compile, `module.` of DDP."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = ["WRAPPED", "plain_names", "plain_path", "plain_state", "unwrap", "with_names_of", "wrapped_attribute"]

WRAPPED = ("_orig_mod", "module")
"""Attributes under which wrappers keep the module inside: that of torch.compile, and that of DataParallel and DDP."""


def wrapped_attribute(module: nn.Module | None) -> str:
    """Return the attribute under which a wrapper keeps the module inside; empty for a module that is no wrapper."""
    if isinstance(module, DataParallel | DistributedDataParallel):
        return "module"
    # its class is not asked for, because torch's compiler takes seconds to import
    return "_orig_mod" if type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules else ""  # type: ignore[union-attr]


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside of all wrappers around the whole model."""
    while attribute := wrapped_attribute(model):
        model = getattr(model, attribute)
    return model


def plain_names(model: nn.Module) -> dict[str, str]:
    """Return the names in a model's state that contain those of wrappers, each with the name without them."""
    if not any(map(wrapped_attribute, model.modules())):
        return {}
    names = {}
    for name in {
        *model.state_dict(),
        *(name for name, _ in model.named_parameters()),
        *(name for name, _ in model.named_buffers()),
    }:
        names[name] = plain_path(model, name)
    return {name: plain for name, plain in names.items() if name != plain}


def plain_path(model: nn.Module, name: str) -> str:
    """Return a dotted name in a model without the words of wrappers."""
    module: nn.Module | None = model
    kept = []
    for word in name.split("."):
        if word != wrapped_attribute(module):
            kept.append(word)
        module = None if module is None else module._modules.get(word)
    return ".".join(kept)


def plain_state(model: nn.Module, state: Any) -> Any:
    """Return a state, such as the model's own or that of an average, with its weights under their plain names."""
    names = plain_names(model)
    return _renamed(state, names) if names else state


def with_names_of(model: nn.Module, state: Any) -> Any:
    """Return a saved state with its weights under the names that they have in `model`.

    States that were saved with the names of wrappers are understood too.
    """
    plain = plain_names(model)
    # not the state's names alone: a model can hold a parameter that its state does not name
    current = {name: plain.get(name, name) for name in {*model.state_dict(), *(name for name, _ in model.named_parameters())}}
    exact = {plain: name for name, plain in current.items() if plain != name}
    stripped = {_stripped(plain): name for name, plain in current.items()}
    if len(stripped) < len(current):  # two modules whose names differ by a word such as `module` alone
        stripped = {}

    def name_of(saved: str) -> str:
        return saved if saved in current else exact.get(saved) or stripped.get(_stripped(saved), saved)

    saved_names = set(_keys(state))
    names = {saved: name for saved in saved_names if (name := name_of(saved)) != saved}
    return _renamed(state, names) if names else state


def _stripped(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in WRAPPED)


def _keys(state: Any) -> list[str]:
    """Return every text that is a key somewhere in a state."""
    if isinstance(state, dict):
        return [key for key in state if isinstance(key, str)] + [key for value in state.values() for key in _keys(value)]
    return [key for value in state for key in _keys(value)] if isinstance(state, list | tuple) else []


def _renamed(state: Any, names: dict[str, str]) -> Any:
    """Return a state of dicts, lists and tuples with its keys renamed."""
    if isinstance(state, dict):
        return {names.get(key, key) if isinstance(key, str) else key: _renamed(value, names) for key, value in state.items()}
    return type(state)(_renamed(value, names) for value in state) if type(state) in (list, tuple) else state
