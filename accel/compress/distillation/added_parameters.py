"""Parameters that a part adds to the user's model: they are trained as its own, and are no part of its state.

They are registered on the model itself, not on a module inside: a `Sequential` would call that. So every wrapper averages their
gradients, and every optimiser and average finds them by name. The state of the model is without them, and with it each file of
weights: the part that added them keeps them in its own state, under `ADDED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from accel.errors import ConfigError

__all__ = ["ADDED", "AddedParameters", "add_saved"]

ADDED = "added_parameters"
"""Key of them in the state of the part that added them."""


class AddedParameters:
    """Parameters on a model that its state leaves out, until they are removed.

    Args:
        model: the user's model.
        values: their first values, by a name without dots.

    Raises:
        ConfigError: for a name that the model has already.
    """

    def __init__(self, model: nn.Module, values: Mapping[str, Tensor]) -> None:
        self.model, self.names = model, (names := list(values))
        for name, value in values.items():
            if hasattr(model, name):
                raise ConfigError(f"the model has an attribute {name} of its own; give that another name")
            model.register_parameter(name, nn.Parameter(value))

        # functions that hold the names alone: a copy of the model keeps them
        def leave_out(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
            for name in names:
                state.pop(prefix + name, None)

        def expect_none(module: nn.Module, keys: Any) -> None:
            keys.missing_keys[:] = [key for key in keys.missing_keys if key.rpartition(".")[2] not in names]

        self.handles: list[RemovableHandle] = [
            model.register_state_dict_post_hook(leave_out),  # type: ignore[no-untyped-call]
            model.register_load_state_dict_post_hook(expect_none),  # type: ignore[no-untyped-call]
        ]

    def __getitem__(self, name: str) -> Tensor:
        """Return a parameter by its name."""
        value: Tensor = getattr(self.model, name)
        return value

    def state(self) -> dict[str, Tensor]:
        """Return their values by name, for the state of a part."""
        return {name: self[name].detach() for name in self.names}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the values that `state` returned. Raise ValueError if they are others."""
        shapes = {name: tuple(self[name].shape) for name in self.names}
        if shapes != {name: tuple(value.shape) for name, value in state.items()}:
            raise ValueError("the parameters that it had added have other names or shapes")
        with torch.no_grad():
            for name, value in state.items():
                self[name].copy_(value)

    def remove(self) -> None:
        """Give the model back as it was."""
        for handle in self.handles:
            handle.remove()
        for name in self.names:
            self.model._parameters.pop(name, None)
        self.names, self.handles = [], []


def add_saved(model: nn.Module, states: Iterable[Any]) -> None:
    """Add to a model, for good, the parameters that the parts of a run had added, with the values that these have in a checkpoint.

    Args:
        model: a module of the run's make.
        states: the states of the parts.
    """
    for state in states:
        if isinstance(state, dict) and ADDED in state:
            AddedParameters(model, {name: value.clone() for name, value in state[ADDED].items()})
