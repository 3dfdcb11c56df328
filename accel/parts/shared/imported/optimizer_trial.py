"""A trial of an optimiser of another package, before the run: whether it can step, and whether its state is all that it keeps.

It steps a few tensors of its own, in the shapes and dtypes of the smallest parameters. Random generators are afterwards where they
were.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.device.dtensor import is_dtensor, local_shard, shard_like
from accel.device.rng import Randomness
from accel.device.torch_startup import unwrapped_step
from accel.errors import ConfigError
from accel.parts.shared.imported.dotted_name import first_line
from accel.parts.shared.imported.plain_state import same, unsaveable

__all__ = ["OptimizerTrial", "has_modes", "restore_dtypes", "try_loaded", "try_optimizer"]

Make = Callable[[list[Tensor]], Optimizer]
FIX = "take another optimiser"
REASONS = {
    "closure": "needs a closure that computes the loss anew within a step, and here each gradient is computed once",
    "create_graph": "needs gradients that can be differentiated again (create_graph=True), and these are plain numbers",
    "does not require grad": "needs gradients that can be differentiated again (create_graph=True), and these are plain numbers",
    "dense gradients": "takes sparse gradients alone, and these are dense",
}
"""What words in an error say about an optimiser."""
LARGEST = 1 << 16
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Largest difference of a sharded step from a whole one; 2 % for other dtypes."""


class OptimizerTrial(NamedTuple):
    """What the trial of an optimiser shows."""

    modes: bool
    """Whether it has a mode of its own for evaluation, `eval()` and `train()`."""
    draws: bool
    """Whether a step draws random numbers."""
    counters: frozenset[str]
    """Keys of its groups that a step moves."""
    unsaveable: str
    """What its state holds that no checkpoint can, in words; empty if it can be saved."""
    exact: bool
    """Whether an optimiser that is given its state makes the same next step, to the bit."""


def try_optimizer(title: str, make: Make, params: list[Tensor], device: torch.device) -> OptimizerTrial:
    """Let an optimiser step stand-ins for some parameters, on their device.

    Args:
        title: its name, for the messages.
        make: makes it, over a list of tensors.
        params: the parameters of the run.
        device: of the run.

    Raises:
        ConfigError: if it cannot step, in words.
    """
    chosen = representatives(params)
    random = Randomness(device)
    with random.preserved():
        first = begun(make, [stand_in(param) for param in chosen])
        fresh = [settings_of(group) for group in first.param_groups]
        before = random.state()
        step(title, first, 1.0)
        draws = not same(before, random.state())
        counters = frozenset(
            key for group, old in zip(first.param_groups, fresh, strict=True) for key in old if not same(group[key], old[key])
        )
        check_modes(title, first)
        state = first.state_dict()
        problem = unsaveable(state)
        state = state if problem else deepcopy(state)  # what cannot be saved may be a tensor that cannot be copied either
        if not {"state", "param_groups"} <= state.keys():
            raise ConfigError(f"{title} has a state_dict without state and param_groups, from which nothing could go on; {FIX}")
        exact = problem == "" and goes_on_from(title, make, first, state, random)
        if any(map(is_dtensor, chosen)):
            compare_shards(title, make, chosen)
    return OptimizerTrial(has_modes(first), draws, counters, problem, exact)


def representatives(params: list[Tensor]) -> list[Tensor]:
    """Return the smallest parameter of each number of dimensions, dtype and device, and the largest of at most 65,536 numbers.

    An optimiser of 8 bits may keep small ones in another way.
    """
    smallest: dict[Any, Tensor] = {}
    largest: dict[Any, Tensor] = {}
    for param in sorted(params, key=lambda param: param.numel()):
        kind = param.dim(), param.dtype, param.device
        smallest.setdefault(kind, param)
        if param.numel() <= LARGEST:
            largest[kind] = param
    return list(dict.fromkeys([*smallest.values(), *largest.values()]))


def stand_in(param: Tensor, *, whole: bool = False) -> Tensor:
    """Return a tensor of the shape, dtype and device of a parameter, with numbers from -0.5 to 0.5.

    Args:
        param: the parameter.
        whole: return a plain tensor where the parameter is sharded; else it is sharded as the parameter is.
    """
    numbers = torch.linspace(-0.5, 0.5, max(1, param.numel()), device=param.device)[: param.numel()]
    values = numbers.to(param.dtype).reshape(param.shape)
    return (values if whole else shard_like(values, param)).detach().requires_grad_(True)


def begun(make: Make, params: list[Tensor]) -> Optimizer:
    """Return an optimiser over tensors, in its mode of training."""
    optimizer = make(params)
    if has_modes(optimizer):
        optimizer.train()  # type: ignore[attr-defined]
    return optimizer


def has_modes(optimizer: Any) -> bool:
    """Return whether an optimiser has a mode of its own for evaluation, as those of the package schedulefree have."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def check_modes(title: str, optimizer: Any) -> None:
    """Check that the mode for evaluation moves the weights alone, if there is one. Raise ConfigError if it does not."""
    if not has_modes(optimizer):
        return
    state = deepcopy(optimizer.state_dict())
    optimizer.eval()
    optimizer.train()
    if not same(state, optimizer.state_dict()):
        raise ConfigError(f"{title} has a mode for evaluation that changes its state, so an evaluation would move the run; {FIX}")


def settings_of(group: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the settings of a group."""
    return {key: deepcopy(value) for key, value in group.items() if key not in ("params", "lr")}


def step(title: str, optimizer: Optimizer, size: float) -> None:
    """Make a step with small gradients, `size` times as large.

    Raises:
        ConfigError: if that fails, in words.
    """
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ConfigError(f"{title} {REASONS['closure']}; {FIX}")
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = (param.detach() * 0.1 + 0.01) * size
    try:
        unwrapped_step(optimizer)()
    except Exception as error:
        sharded = any(is_dtensor(param) for group in optimizer.param_groups for param in group["params"])
        fix = f"{FIX}, or the plugin ddp in place of fsdp" if sharded else FIX
        reason = next((reason for word, reason in REASONS.items() if word in str(error).lower()), "")
        raise ConfigError(f"{title} {reason or 'cannot make a step here: ' + first_line(error)}; {fix}") from error


def goes_on_from(title: str, make: Make, first: Optimizer, state: dict[str, Any], random: Randomness) -> bool:
    """Return whether a new optimiser with the state of `first` makes the same next step."""
    params = [param for group in first.param_groups for param in group["params"]]
    try:
        second = begun(make, [param.detach().clone().requires_grad_(True) for param in params])
        second.load_state_dict(state)
        restore_dtypes(second, state)
    except Exception:  # a state that it cannot take back is none
        return False
    now = random.state()
    step(title, first, 0.5)
    random.restore(now)
    step(title, second, 0.5)
    copies = [param for group in second.param_groups for param in group["params"]]
    return all(torch.equal(local_shard(a.detach()), local_shard(b.detach())) for a, b in zip(params, copies, strict=True))


def restore_dtypes(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give state that was just loaded the dtypes that it was saved with: torch takes those of the parameters.

    Args:
        optimizer: which has loaded `state`.
        state: by the index of the parameter.
    """
    params = [param for group in optimizer.param_groups for param in group["params"]]
    for place, values in state["state"].items():
        loaded = optimizer.state[params[place]] if isinstance(place, int) else {}
        for name, value in values.items() if loaded else ():
            now = loaded.get(name)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and value.dtype != now.dtype:
                loaded[name] = value.to(now.device, copy=True)


def try_loaded(title: str, optimizer: Optimizer) -> None:
    """Let a copy of an optimiser make a step with the state that it was given, which may be that of another.

    Raises:
        ValueError: if it cannot.
    """
    again = deepcopy(optimizer)
    params = [param for group in again.param_groups for param in group["params"]]
    with Randomness(params[0].device).preserved():
        for param in params:
            param.grad = torch.zeros_like(param)
        try:
            unwrapped_step(again)()
        except Exception as error:
            raise ValueError(f"{title} cannot go on from the state of the one before: {first_line(error)}") from error


def compare_shards(title: str, make: Make, params: list[Tensor]) -> None:
    """Check that a step of sharded parameters is that of whole ones.

    Raises:
        ConfigError: if it is not.
    """
    sharded, whole = ([stand_in(param, whole=is_whole) for param in params] for is_whole in (False, True))
    for tensors in (sharded, whole):
        optimizer = begun(make, tensors)
        step(title, optimizer, 1.0)
        step(title, optimizer, 0.5)
    for param, shard, plain in zip(params, sharded, whole, strict=True):
        expected = local_shard(shard_like(plain.detach(), param))
        if not torch.allclose(local_shard(shard.detach()), expected, rtol=0.0, atol=TOLERANCE.get(param.dtype, 0.02)):
            raise ConfigError(f"{title} makes another step where weights are sharded; take the plugin ddp in place of fsdp")
