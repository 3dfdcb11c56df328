"""State of an optimiser: checked, and brought to the parameters that it belongs to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.errors import describe
from accel.optim.fused import Fused

__all__ = ["NAMES", "PER_ELEMENT", "check_loaded", "regrouped"]

NAMES = "names"
"""Key of the names of the parameters, in the order of the state; missing where no parameter has settings of its own."""
PER_ELEMENT = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "z")
"""State of optimisers that has a number for each number of the parameter."""


def check_loaded(optimizer: Optimizer) -> None:
    """Raise ValueError if a fused kernel could not read what was loaded: it would read beyond a tensor. accel's check more.

    State of other packages has shapes of its own.
    """
    for group in optimizer.param_groups if type(optimizer).__module__.startswith(("torch.optim.", "accel.")) else ():
        for param in group["params"]:
            for name, value in optimizer.state[param].items() if param in optimizer.state else ():
                right = isinstance(value, Tensor) and value.shape == param.shape and not value.is_complex()
                if name in PER_ELEMENT and value is not None and not (right or param.is_complex()):
                    raise ValueError(f"{name} is {describe(value)}, of a parameter of shape {tuple(param.shape)}")
                if name == "step" and not isinstance(optimizer, Fused) and torch.as_tensor(value).numel() != 1:
                    raise ValueError(f"step is {describe(value)}, and one number is wanted")


def regrouped(state: dict[str, Any], plain: list[str], names: list[str], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the state of an optimiser in the order of other groups, whose settings it takes.

    Args:
        state: the state, with the names of its parameters if they were grouped.
        plain: the names in the order that they have where nothing groups them.
        names: the names in the order of `groups`.
        groups: the groups to which the state is brought.
    """
    before = state.get(NAMES, plain)
    sizes = [[len(group["params"]) for group in one] for one in (state["param_groups"], groups)]
    if (before == names and sizes[0] == sizes[1]) or sorted(before) != sorted(names):
        return state  # torch refuses it where the sizes differ
    place = {name: index for index, name in enumerate(names)}
    moved = {place[before[index]]: values for index, values in state["state"].items()}
    indices = iter(range(len(names)))
    settings = [{**group, "params": [next(indices) for _ in group["params"]]} for group in groups]
    return {**state, "state": moved, "param_groups": settings}
