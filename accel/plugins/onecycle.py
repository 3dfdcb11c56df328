"""OneCycle: the learning rate climbs to a peak and falls far below its start.

Helps   convergence in few epochs; large peak rates regularise, and the long
        fall settles the weights.
Hurts   runs of unknown length (it must know the number of updates), and
        stopping early: the best weights come last.
Costs   nothing: a pure function of the update's index, with no state.
Source  Smith and Topin, Super-convergence, arXiv 1708.07120. Equals
        `torch.optim.lr_scheduler.OneCycleLR` with total_steps = the number of
        updates, without its traps: no division by zero when the climb is one
        update long, no rebound after the end, and the user's betas and momentum
        stay as they are unless cycle_momentum asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import TYPE_CHECKING, Literal

from accel.errors import ConfigError
from accel.parts import Schedule
from accel.values import Decay, Positive

if TYPE_CHECKING:
    from accel.parts import Run


@dataclass(eq=False)
class OneCycle(Schedule):
    """One cycle of the learning rate over the whole run.

    Args:
        max_lr: the peak; null takes the optimiser's lr.
        pct_start: the share of the updates spent climbing.
        div_factor: the first rate is max_lr / div_factor.
        final_div_factor: the last rate is the first / final_div_factor.
        anneal: the shape of both slopes.
        cycle_momentum: also move momentum (SGD) or beta1 (Adam) against the rate, from max_momentum to base_momentum and back.
        base_momentum: the lowest momentum, at the peak.
        max_momentum: the highest momentum, at both ends.
    """

    max_lr: Positive | None = None
    pct_start: Decay = 0.3
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4
    anneal: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = False
    base_momentum: Decay = 0.85
    max_momentum: Decay = 0.95

    def setup(self, run: Run) -> None:
        super().setup(run)
        if run.updates is None:
            raise ConfigError("onecycle needs the number of updates, and the data has no length; give it a __len__")
        self.total = run.updates
        self.peak = self.max_lr or self.base
        self.first = self.peak / self.div_factor
        self.floor = self.first / self.final_div_factor
        groups = self.optim.optimizer.param_groups
        if self.cycle_momentum and not all("betas" in group or group.get("momentum") for group in groups):
            raise ConfigError("onecycle.cycle_momentum needs an optimiser with momentum or betas; set cycle_momentum=false")

    def lr(self, step: int) -> float:
        if step >= self.total - 1:
            return self.floor
        return self._along(step, self.first, self.peak, self.floor)

    def momentum(self, step: int) -> float:
        """The momentum of update `step`, from 0."""
        if step >= self.total - 1:
            return self.max_momentum
        return self._along(step, self.max_momentum, self.base_momentum, self.max_momentum)

    def apply(self, step: int) -> None:
        self.optim.set_lr(self.lr(step))
        if self.cycle_momentum:
            momentum = self.momentum(step)
            for group in self.optim.optimizer.param_groups:
                group.update({"betas": (momentum, *group["betas"][1:])} if "betas" in group else {"momentum": momentum})

    def notes(self) -> Mapping[str, str]:
        whose = "" if self.max_lr else " (the optimiser's lr)"
        return {"learning rate": f"{self.first:.3g} up to {self.peak:.3g}{whose}, down to {self.floor:.3g}"}

    def idle(self, run: Run) -> list[str]:
        found = []
        if self.max_lr and run.parts.optim.lr not in (type(run.parts.optim).lr, self.max_lr):
            found.append(f"{run.parts.optim.name}.lr has no effect: onecycle.max_lr={self.max_lr:g} sets the learning rate")
        if not self.cycle_momentum:
            changed = [name for name in ("base_momentum", "max_momentum") if getattr(self, name) != getattr(type(self), name)]
            found += [f"onecycle.{name} has no effect without onecycle.cycle_momentum=true" for name in changed]
        return found

    def _along(self, step: int, first: float, peak: float, last: float) -> float:
        """The value at `step` on the way from `first` over `peak` to `last`, in torch's own arithmetic."""
        top = self.pct_start * self.total - 1
        if step <= top:
            return self._between(first, peak, step / top if top else 1.0)
        return self._between(peak, last, (step - top) / (self.total - 1 - top))

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (cos(pi * share) + 1)
