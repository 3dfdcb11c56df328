"""A scheduler of torch, stepped once per update on groups of its own, whose rates are then those of the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from accel.errors import ConfigError, TrainingError
from accel.parts.shared.imported.dotted_name import first_line
from accel.parts.shared.imported.plain_state import same, unsaveable

__all__ = ["Forecast", "StandIn", "SteppedScheduler"]

LONGEST, COMPARED = 5000, 32
"""Updates that are tried before a run, at most, and those that are compared with a second try."""


class StandIn(torch.optim.Optimizer):
    """Optimiser without weights, whose groups have the settings of another's: a scheduler moves these.

    Args:
        groups: settings of each group.
        defaults: settings of the optimiser.
    """

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        super().__init__([{**group, "params": [torch.zeros(0)]} for group in groups], defaults)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing: schedulers want an optimiser to have made a step before they do."""


class Forecast(NamedTuple):
    """What a scheduler does in the first updates."""

    rates: list[list[float]]
    """Learning rates of each update, by group."""
    momentum: bool
    """Whether it moves the momentum."""
    repeatable: bool
    """Whether it does the same if it is made again."""


class SteppedScheduler:
    """A scheduler, and how many updates it is at.

    Args:
        title: its name, for the messages.
        make: makes it, for an optimiser.
        groups: the settings of the optimiser's groups before the first update, without `params`.
        defaults: the settings of the optimiser.
    """

    def __init__(self, title: str, make: Callable[[StandIn], Any], groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self.title, self.make, self.groups, self.defaults = title, make, groups, defaults
        self.begin()

    def begin(self) -> None:
        """Make it anew, before the first update."""
        self.stand_in = StandIn(self.groups, self.defaults)
        self.scheduler = self.make(self.stand_in)
        self.stand_in.step()
        self.step = 0

    def advance(self, step: int) -> None:
        """Step it to update `step`, from 0; it begins anew for an earlier one. Raise TrainingError if it cannot."""
        if step < self.step:
            self.begin()
        while self.step < step:
            try:
                self.scheduler.step()
            except Exception as error:
                raise TrainingError(f"{self.title} fails at update {self.step + 2}: {first_line(error)}") from error
            self.step += 1

    @property
    def rates(self) -> list[float]:
        """Learning rate of each group."""
        return [float(group["lr"]) for group in self.stand_in.param_groups]

    @property
    def momenta(self) -> list[float | None]:
        """Momentum of each group, or the first of its betas; None if it has neither."""
        return [group["betas"][0] if "betas" in group else group.get("momentum") for group in self.stand_in.param_groups]

    def forecast(self, updates: int | None) -> Forecast:
        """Return what two others of its kind do in the updates of a run, the first 5,000 at most.

        Args:
            updates: number of updates of the run; None if that is not known.

        Raises:
            ConfigError: if one fails, or gives a rate that is no finite number.
        """
        count = COMPARED if updates is None else min(updates, LONGEST)
        tried, again = self.another(), self.another()
        rates, momenta = [tried.rates], [tried.momenta]
        repeatable = same(tried.settings(), again.settings())
        for step in range(1, count):
            try:
                tried.advance(step)
                if step < COMPARED:
                    again.advance(step)
                    repeatable = repeatable and same(tried.settings(), again.settings())
            except TrainingError as error:
                raise ConfigError(f"{error}; the run has {updates or 'at least ' + str(count)} updates") from error
            rates.append(tried.rates)
            momenta.append(tried.momenta)
        odd = next((step for step, values in enumerate(rates) if not all(map(isfinite, values))), None)
        if odd is not None:
            raise ConfigError(f"{self.title} gives a rate that is not finite at update {odd + 1}")
        original = [group["betas"][0] if "betas" in group else group.get("momentum") for group in self.groups]
        moves = any(values != others for values, others in pairwise([original, *momenta]))
        return Forecast(rates, moves, repeatable)

    def another(self) -> SteppedScheduler:
        """Return one of its kind before the first update."""
        return SteppedScheduler(self.title, self.make, self.groups, self.defaults)

    def settings(self) -> list[dict[str, Any]]:
        """Return the settings of the groups."""
        return [{key: value for key, value in group.items() if key != "params"} for group in self.stand_in.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return where it is; without its own state if no checkpoint can hold that."""
        state = self.scheduler.state_dict() if hasattr(self.scheduler, "load_state_dict") else None
        groups = [{key: value for key, value in group.items() if not unsaveable(value)} for group in self.settings()]
        return {"step": self.step, "groups": groups, "scheduler": None if state is None or unsaveable(state) else state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; without its own it is stepped there from the start."""
        self.begin()
        if state["scheduler"] is None:
            self.advance(int(state["step"]))
            return
        self.scheduler.load_state_dict(state["scheduler"])
        for group, saved in zip(self.stand_in.param_groups, state["groups"], strict=True):
            group.update({key: value.clone() if isinstance(value, Tensor) else value for key, value in saved.items()})
        self.step = int(state["step"])
