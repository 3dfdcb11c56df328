"""Bases of the schedules that begin with a linear warm-up, and of those that fall from there to the end of the run."""

from __future__ import annotations

from accel.errors import ConfigError
from accel.parts.run import Run
from accel.parts.schedule import Schedule

__all__ = ["Decaying", "Warmed"]


class Warmed(Schedule):
    """Schedule that climbs to the optimiser's lr in `warmup` updates, and then follows `factor`, a function of the update's index.

    `warmup` is a field of each subclass, which gives it its default, so that it stands in its own text.
    """

    warmup: float

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.warmup_updates = self.span(self.warmup) if self.warmup else 0
        if self.updates is not None and self.warmup_updates > self.updates - 1:
            raise ConfigError(
                f"{self.name}.warmup is {self.warmup_updates} updates and the whole run {self.updates}; make the warm-up shorter"
            )

    def factor(self, step: int) -> float:
        """Return the learning rate of update `step`, from 0, behind the warm-up, as a share of the optimiser's lr."""
        return 1.0

    def lr(self, step: int) -> float:
        if step < self.warmup_updates:
            return self.base * (step + 1) / (self.warmup_updates + 1)
        return self.base * self.factor(step)

    def apply(self, step: int) -> None:
        self.optim.set_lr(self.lr(step))

    def after_warmup(self) -> str:
        """Return the rate at the end of the warm-up in words, for the plan."""
        updates = f" after {self.warmup_updates} updates of warm-up" if self.warmup_updates else ""
        return f"{self.base:.3g}{updates}"


class Decaying(Warmed):
    """Schedule that falls from the end of the warm-up to the last update of the run, where it has `floor` of the optimiser's lr.

    `floor` is a field of each subclass too.
    """

    floor: float

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.last_step, self.final_lr = self.total() - 1, self.base * self.floor

    def left(self, share: float) -> float:
        """Return how much of the way down is left, from 1 to 0, at a share of the updates after the warm-up."""
        raise NotImplementedError

    def lr(self, step: int) -> float:
        if step >= self.last_step:
            return self.final_lr
        if step < self.warmup_updates:
            return super().lr(step)
        share = (step - self.warmup_updates) / (self.last_step - self.warmup_updates)
        return self.final_lr + (self.base - self.final_lr) * self.left(share)
