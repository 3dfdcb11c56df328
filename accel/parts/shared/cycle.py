"""Base of the schedules that climb to a peak and come down again."""

from __future__ import annotations

from accel.errors import ConfigError
from accel.parts.run import Run
from accel.parts.schedule import Schedule

__all__ = ["Cycle"]


class Cycle(Schedule):
    """Schedule that climbs from `peak / div_factor` to `peak`, and may move momentum against the rate.

    The settings named here are fields of each subclass, which gives them their defaults, so that they stand in its own text.
    """

    max_lr: float | None
    div_factor: float
    cycle_momentum: bool
    base_momentum: float
    max_momentum: float

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.peak = self.max_lr * self.optim.scale if self.max_lr else self.base
        self.first = self.peak / self.div_factor
        if self.cycle_momentum and not self.optim.has_momentum:
            raise ConfigError(f"{self.name}.cycle_momentum needs an optimiser with momentum or betas; set cycle_momentum=false")
        if self.cycle_momentum:
            self.optim.cycle_momentum()

    def momentum(self, step: int) -> float:
        """Return the momentum of update `step`, from 0."""
        raise NotImplementedError

    def apply(self, step: int) -> None:
        self.optim.set_lr(self.lr(step))
        if self.cycle_momentum:
            self.optim.set_momentum(self.momentum(step))

    def capture_blocker(self) -> str:
        if not self.cycle_momentum:
            return ""
        return f"{self.name}: kernels take the momentum from the host; set plugins.{self.name}.cycle_momentum=false"

    def climb(self) -> str:
        """Return first and peak rate, and where the peak comes from, for the plan."""
        origin = "" if self.max_lr else " (the optimiser's lr)"
        return f"{self.first:.3g} up to {self.peak:.3g}{origin}"

    def ineffective_settings(self, run: Run) -> list[str]:
        sentences = []
        in_ratio = any("lr" in rule.values for rule in run.parts.optim.parameter_groups.rules)
        if self.max_lr and not in_ratio and self.optim.changed("lr") and self.optim.lr != self.max_lr:
            sentences.append(f"{run.parts.optim.name}.lr has no effect: {self.name}.max_lr={self.max_lr:g} sets the learning rate")
        if not self.cycle_momentum:
            unused = self.changed("base_momentum", "max_momentum")
            sentences += [f"{self.name}.{name} has no effect without {self.name}.cycle_momentum=true" for name in unused]
        elif not self.optim.fused and any("betas" in group for group in self.optim.optimizer.param_groups):
            sentences.append(
                f"{self.name}.cycle_momentum: {self.optim.name} corrects its first moment as if beta1 had never moved, 17 % off "
                "in a run of 100 updates; the fused one does it right"
            )
        return sentences
