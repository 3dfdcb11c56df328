"""Scheduler: any learning rate scheduler of torch or of another package, by its dotted name.

`plugins.scheduler.target=torch.optim.lr_scheduler.ExponentialLR` with
`'plugins.scheduler.args={gamma:0.99}'` steps it once per update. An argument
whose value is the word `updates` becomes the number of updates of the run:
`args={T_max:updates}`. In Python the target may be the class itself, or a
function (optimizer, **args) that returns a scheduler, such as a SequentialLR.

It is driven on groups that have the settings of the optimiser's, so the rates
of the groups, and of a cycle the momentum, are what it makes of them.

Helps   schedules that accel does not have, and recipes that name one of torch
        or `transformers.get_linear_schedule_with_warmup`.
Hurts   where `cosine`, `onecycle`, `cyclic`, `linear`, `wsd`, `step`,
        `polynomial` or `constant` is the same: those count in shares of the
        run, and are refused in words where they do not fit.
Costs   one step of the scheduler per update, on the host: 5 to 20 microseconds.
        Before the run two more are stepped for up to 5,000 updates.
Source  `torch.optim.lr_scheduler`. ReduceLROnPlateau is the plugin `plateau`.
Exact   The rates of the same scheduler in a loop of your own. Its state is in
        the checkpoints. One that gives other rates when it is made again is no
        function of the update, and gives a warning.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from accel.device.rng import Randomness
from accel.errors import ConfigError, describe
from accel.parts import Schedule
from accel.parts.shared.imported.dotted_name import check_arguments, dotted_name, first_line, is_users, resolve
from accel.parts.shared.imported.stepped_scheduler import StandIn, SteppedScheduler
from accel.values import to_plain

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["UPDATES", "Scheduler"]

EXAMPLE = "torch.optim.lr_scheduler.ExponentialLR"
UPDATES = "updates"
"""The value of an argument that stands for the number of updates of the run."""


@dataclass(eq=False)
class Scheduler(Schedule):
    """Schedule that is named by its class.

    Args:
        target: dotted name of the class of a scheduler, such as torch.optim.lr_scheduler.ExponentialLR, or of a function.
        args: its arguments by name, such as {gamma: 0.99}; updates stands for the number of updates; null for its defaults.
    """

    follows_length = False

    target: Any = "torch.optim.lr_scheduler.LinearLR"
    args: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.maker = resolve(f"{self.name}.target", self.target, EXAMPLE)
        self.title = self.target if isinstance(self.target, str) else dotted_name(self.target)
        if isinstance(self.maker, type) and issubclass(self.maker, ReduceLROnPlateau):
            raise ConfigError(f"{self.name}.target: {self.title} follows a metric of the evaluations; take the plugin plateau")
        super().__post_init__()
        if "optimizer" in (self.args or {}):
            raise ConfigError(f"{self.name}.args has optimizer, which is the run's; leave it out there")
        check_arguments(f"{self.name}.args", self.title, self.maker, self.args or {})

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.arguments = {name: self.counted(value) for name, value in (self.args or {}).items()}
        self.drive([float(rate) for rate in self.optim.rates])
        with Randomness(run.device).preserved():
            self.forecast = self.driver.forecast(run.updates)
        if self.forecast.momentum:
            if len(set(self.driver.momenta)) > 1:
                raise ConfigError(f"{self.name}: {self.title} gives groups a momentum each; give all of them the same")
            self.optim.cycle_momentum()

    def counted(self, value: Any) -> Any:
        """Return an argument with the number of updates in place of its word."""
        if isinstance(value, list | tuple):
            inner = map(self.counted, value)
            return tuple(inner) if isinstance(value, tuple) else list(inner)
        if value != UPDATES or not isinstance(value, str):
            return value
        self.follows_length = True
        return self.total()

    def drive(self, rates: list[float]) -> None:
        """Begin to step it, before the first update, with the rates of the groups."""
        optimizer = self.optim.optimizer
        groups = [
            {**{key: value for key, value in group.items() if key != "params"}, "lr": rate}
            for group, rate in zip(optimizer.param_groups, rates, strict=True)
        ]
        self.driver = SteppedScheduler(f"{self.name}.target: {self.title}", self.make, groups, dict(optimizer.defaults))
        self.past, self.past_from = array("d", [self.shown_rate()]), 0
        """Rates of the updates so far, from update `past_from` on."""

    def make(self, optimizer: StandIn) -> Any:
        """Return the scheduler of an optimiser. Raise ConfigError if its arguments cannot work."""
        try:
            scheduler = self.maker(optimizer, **self.arguments)
        except Exception as error:
            raise ConfigError(f"{self.name}.target: {self.title} cannot be made: {first_line(error)}") from error
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ConfigError(f"{self.name}.target: {self.title} follows a metric of the evaluations; take the plugin plateau")
        if not callable(getattr(scheduler, "step", None)):
            raise ConfigError(f"{self.name}.target: {self.title} makes {describe(scheduler)}, and no scheduler such as {EXAMPLE}")
        return scheduler

    def shown_rate(self) -> float:
        """Return the learning rate that stands for those of all groups: that of a group at the optimiser's own."""
        pairs = list(zip(self.driver.rates, self.optim.ratios, strict=True))
        own = [rate for rate, ratio in pairs if ratio == 1]
        return next(iter([*own, *(rate / ratio for rate, ratio in pairs if ratio)]), 0.0)

    def lr(self, step: int) -> float:
        """Return the learning rate of update `step`, from 0: one that was made, or the next."""
        return self.past[max(0, step - self.past_from)]

    def apply(self, step: int) -> None:
        while self.driver.step < step:
            self.driver.advance(self.driver.step + 1)
            self.past.append(self.shown_rate())
        self.optim.set_rates(self.lr(step), self.driver.rates)
        if self.forecast.momentum:
            self.optim.set_momentum(float(self.driver.momenta[0] or 0.0))

    def follow_parameters(self, run: Run) -> None:
        before, step = self.driver.state_dict(), self.driver.step
        past = self.past, self.past_from
        self.drive([self.base * ratio for ratio in self.optim.ratios])
        if self.forecast.repeatable or len(before["groups"]) != len(self.driver.groups):
            self.driver.advance(step)
        else:
            self.driver.load_state_dict(before)
        self.past, self.past_from = past

    def capture_blocker(self) -> str:
        if not self.forecast.momentum:
            return ""
        return f"{self.name}: kernels take the momentum from the host; add cycle_momentum:false to plugins.{self.name}.args"

    def given_code(self) -> list[Any]:
        return [*super().given_code(), *([self.maker] if is_users(self.maker) else [])]

    def identity(self) -> dict[str, Any] | None:
        return {**self.settings, "target": dotted_name(self.maker)}

    def plan_notes(self) -> Mapping[str, str]:
        ratio = self.shown_rate() / self.driver.rates[0] if self.driver.rates[0] else 1.0
        rates = [values[0] * ratio for values in self.forecast.rates]
        part = "" if len(rates) == self.updates else f", in the first {len(rates):,} updates"
        return {"learning rate": f"{self.title}: {rates[0]:.3g} at first, at most {max(rates):.3g}, {rates[-1]:.3g} at last{part}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.forecast.repeatable:
            return []
        return [
            f"{self.name}.target: {self.title} gives other rates when it is made again, so it is no function of the update; a "
            "resumed run goes on from its state in the checkpoint"
        ]

    def made_with(self) -> str:
        """Return its arguments and the first rates of the groups: of others it is another schedule."""
        return repr([to_plain(self.arguments), [group["lr"] for group in self.driver.groups]])

    def state_dict(self) -> dict[str, Any]:
        return {"made_with": self.made_with(), **self.driver.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["made_with"] == self.made_with():
            self.driver.load_state_dict({name: state[name] for name in ("step", "groups", "scheduler")})
        else:  # it is to be another from here on, as if it had been from the start
            self.driver.begin()
            self.driver.advance(int(state["step"]))
        self.past, self.past_from = array("d", [self.shown_rate()]), self.driver.step
