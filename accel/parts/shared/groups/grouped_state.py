"""State of an optimiser: checked, and brought to the parameters that it belongs to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.device.dtensor import shard_like
from accel.errors import describe
from accel.optim.fused import Fused

__all__ = ["NAMES", "PER_ELEMENT", "WRITTEN", "check_loaded", "regrouped", "sharded_like", "update_groups", "written_settings"]

NAMES = "names"
"""Key of the names of the parameters, in the order of the state; missing where no parameter has settings of its own."""
WRITTEN = "written"
"""Key of the settings of the groups as the user wrote them, before a schedule moved any."""
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


def sharded_like(groups: list[dict[str, Any]], state: dict[int, Any]) -> dict[int, Any]:
    """Return the state of parameters, by their places in the groups, sharded as they are."""
    params = [param for group in groups for param in group["params"]]
    return {place: {name: shard_like(value, params[place]) for name, value in values.items()} for place, values in state.items()}


def written_settings(groups: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the numbers and switches of the groups of an optimiser, each as its text."""
    plain = (bool, int, float, str, tuple, type(None))
    return [{key: repr(value) for key, value in group.items() if key != "params" and type(value) in plain} for group in groups]


def update_groups(optimizer: Optimizer, fresh: list[dict[str, Any]], before: Any, now: list[dict[str, str]]) -> bool:
    """Give the groups of an optimiser that has loaded its state what this run says of them; return whether it says other things.

    Args:
        optimizer: the optimiser. What moved by itself, as a rate does by a schedule, stays as it was loaded.
        fresh: settings of each group before loading.
        before: `written_settings` of the run that saved the state; None if that has not been saved: then nothing differs.
        now: the same of this run.

    Raises:
        ValueError: for state that a kernel could not read.
    """
    groups, defaults = optimizer.param_groups, optimizer.defaults
    before = before if before is not None and len(before) == len(now) else now
    for group, settings, old, new in zip(groups, fresh, before, now, strict=True):
        group.update({name: defaults[name] for name in ("fused", "foreach") if name in defaults})  # for this device and weights
        group.update({key: value for key, value in settings.items() if key not in group or old.get(key) != new.get(key)})
    check_loaded(optimizer)
    return bool(before != now)
