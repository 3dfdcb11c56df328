"""One of several objectives, as the user writes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from accel.errors import ConfigError, describe, nearest
from accel.parts import Part
from accel.values import Count, coerce

__all__ = ["METHOD", "Minimize", "read_objectives"]

METHOD = "objectives(model)"
"""Where objectives come from, for messages."""


@dataclass(frozen=True, eq=False)
class Minimize:
    """Loss that is minimised over some of the model's parameters, by an optimiser of its own: one of `Trainer.objectives`.

    Args:
        name: name in the plan, in checkpoints and of the numbers that are logged (`NAME/loss`): letters, digits, `_` and `-`.
        parameters: what it moves: a module, an iterable of parameters, or patterns of their names in the model.
        loss: `loss(model, batch)`; it returns what the loss of a Trainer may.
        every: it moves in every `every`-th update, from the first of the run on.
        plugins: its own optimiser and its own clipping, instances or names; what is not given is as the run's.

    Raises:
        ConfigError: for a value that cannot be one of these.
    """

    name: str
    parameters: Any
    loss: Callable[[nn.Module, Any], Any]
    every: int = 1
    plugins: Sequence[Part | str] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w-]+", self.name):
            raise ConfigError(f"{METHOD}: the name {self.name!r} cannot be one; take a text of letters, digits, _ and -")
        if not callable(self.loss):
            raise ConfigError(f"{METHOD}: the loss of {self.name} is {describe(self.loss)}; give a function loss(model, batch)")
        try:
            object.__setattr__(self, "every", coerce(self.every, Count))
        except ValueError:
            raise ConfigError(
                f"{METHOD}: every={self.every!r} of {self.name} must be a whole number from 1 on; 2 is each second update"
            ) from None
        if not isinstance(self.parameters, str | nn.Module | Iterable) or isinstance(self.parameters, Tensor | Mapping):
            raise ConfigError(
                f"{METHOD}: the parameters of {self.name} are {describe(self.parameters)}; give model.part.parameters(), or "
                "patterns of names, such as 'critic.*'"
            )


def read_objectives(given: Any) -> list[Minimize]:
    """Return the objectives that `objectives(model)` gave, in their order, checked as far as the model plays no part.

    Args:
        given: what it returned: a list of `Minimize`, or of dicts with its arguments.

    Raises:
        ConfigError: for anything else, for one name twice, and where there are updates in which none of them moves.
    """
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping | nn.Module):
        raise ConfigError(f"{METHOD} returned {describe(given)}; return a list of Minimize(name, parameters, loss)")
    objectives = [one if isinstance(one, Minimize) else _from_dict(one) for one in given]
    if not objectives:
        raise ConfigError(f"{METHOD} returned no objective; return at least one Minimize(name, parameters, loss)")
    names = [objective.name for objective in objectives]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{METHOD} names two objectives {twice!r}; give each a name of its own")
    if all(objective.every > 1 for objective in objectives):
        raise ConfigError(f"{METHOD}: there are updates in which none of {', '.join(names)} moves; give one of them every=1")
    return objectives


def _from_dict(given: Any) -> Minimize:
    """Return the objective that a dict describes."""
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"{METHOD} returned a list with {describe(given)}; each must be a Minimize(name, parameters, loss), or a dict"
        )
    keys = [field.name for field in fields(Minimize)]
    if wrong := [key for key in given if key not in keys]:
        hint = nearest(str(wrong[0]), keys) or f"; it may have {', '.join(keys)}"
        raise ConfigError(f"{METHOD}: an objective has no {wrong[0]!r}{hint}")
    if lacking := [key for key in keys[:3] if key not in given]:
        raise ConfigError(f"{METHOD}: the objective {given.get('name', dict(given))!r} lacks {', '.join(lacking)}")
    return Minimize(**given)
