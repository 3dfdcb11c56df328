"""Recorder of the calls that a loss makes of the model: what went in, and what came out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ["Call", "CallRecorder", "FeatureRecorder"]


class Call(NamedTuple):
    """One call of a module."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any


class CallRecorder:
    """Recorder of the calls of a model inside a loss, by a forward hook: the loss needs no second forward pass for its logits.

    Calls under `no_grad` are none of the student, and are not recorded.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.is_recording = False
        self.model: nn.Module | None = None
        self.handle: RemovableHandle | None = None

    @contextmanager
    def recorded(self, model: nn.Module) -> Iterator[list[Call]]:
        """Record the calls of `model` inside, in a list that is empty again afterwards."""
        if self.model is not model:
            self.close()
            self.model, self.handle = model, model.register_forward_hook(self._record, with_kwargs=True)
        self.is_recording = True
        try:
            yield self.calls
        finally:
            self.is_recording = False
            self.calls = []

    def _record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if self.is_recording and torch.is_grad_enabled():
            self.calls.append(Call(args, kwargs, output))

    def close(self) -> None:
        """Take the hook off the model."""
        if self.handle is not None:
            self.handle.remove()
        self.model = self.handle = None


class FeatureRecorder:
    """Recorder of the outputs of some modules of a model, those of its last call.

    Args:
        model: the model.
        names: names of modules in it, which must be there.
        with_grad: whether calls under `no_grad` are left out.
    """

    def __init__(self, model: nn.Module, names: list[str], with_grad: bool) -> None:
        self.features: dict[str, Tensor] = {}
        self.is_recording, self.with_grad = False, with_grad
        self.handles = [self._watch(model.get_submodule(name), name) for name in dict.fromkeys(names)]

    def _watch(self, module: nn.Module, name: str) -> RemovableHandle:
        def record(module: nn.Module, args: Any, output: Any) -> None:
            if self.is_recording and (torch.is_grad_enabled() or not self.with_grad):
                self.features[name] = output

        return module.register_forward_hook(record)

    def take(self) -> dict[str, Tensor]:
        """Return the outputs by name of the module, and forget them."""
        features, self.features = self.features, {}
        return features

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in self.handles:
            handle.remove()
        self.handles, self.features = [], {}
