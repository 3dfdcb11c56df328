"""Measurements of runs with some of a run's plugins: two speeds in turns, losses over seeds, memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from accel.compare import Limits, SpeedRatio, interleave
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.arm_process import ArmProcess
from accel.diagnose.ablation.trial_request import trial_request
from accel.engine.request import RunRequest
from accel.system.stop_signals import StopSignals

__all__ = ["Bench", "Names"]

Names = frozenset[str]
"""The plugins of one of the runs."""


class Bench:
    """Place where runs are built, timed and given up. Those that are held stay until it is closed.

    Args:
        request: of the user's run.
        signals: signals that may end the process.
        make_trainer: makes the trainer again, in another process.
        seconds: time for each comparison of two speeds, about.
    """

    def __init__(
        self, request: RunRequest, signals: StopSignals, make_trainer: Callable[[], Any], seconds: float
    ) -> None:  # fmt: skip
        self.request, self.signals, self.make_trainer = request, signals, make_trainer
        self.limits = Limits(seconds=seconds)
        self.held: dict[Names, Arm] = {}
        self.known_losses: dict[tuple[Names, int, int], float] = {}
        """Losses by plugins, updates and seed."""

    def close(self) -> None:
        """Give up all runs that are held, the last one first."""
        for names in reversed(list(self.held)):
            self.release(names)

    def hold(self, names: Names) -> Arm:
        """Return the run with these plugins, which stays until it is released. Raise ConfigError if they cannot make one."""
        if names not in self.held:
            arm = self.held[names] = Arm(trial_request(self.request, names), self.signals)
            arm.calibrate()
        return self.held[names]

    def release(self, names: Names) -> None:
        """Give up the run with these plugins, if it is held."""
        if (arm := self.held.pop(names, None)) is not None:
            arm.close()

    def speed(self, base: Names, other: Names) -> SpeedRatio:
        """Return how many times faster the run is with the plugins `other` than with `base`, both in this process, and hold both.

        Raises:
            ConfigError: if one of the two cannot be a run.
        """
        return interleave(self.hold(base).window, self.hold(other).window, self.limits)

    def speed_apart(self, base: Names, other: Names) -> SpeedRatio:
        """Return the same, each in a process of its own, which waits while the other is timed."""
        with closing(ArmProcess(self.make_trainer, base)) as slower, closing(ArmProcess(self.make_trainer, other)) as faster:
            slower.calibrate()
            faster.calibrate()
            return interleave(slower.window, faster.window, self.limits)

    def losses(self, names: Names, updates: int, seeds: int) -> list[float]:
        """Return the losses after so many updates with these plugins, one for each seed, from the user's on."""
        first = self.request.settings.seed
        return [self.loss(names, updates, first + offset) for offset in range(seeds)]

    def loss(self, names: Names, updates: int, seed: int) -> float:
        """Return the loss after so many updates with these plugins and this seed, in a run of that length."""
        key = names, updates, seed
        if key not in self.known_losses:
            with closing(Arm(trial_request(self.request, names, seed, updates), self.signals)) as arm:
                self.known_losses[key] = arm.loss_after(updates)
        return self.known_losses[key]
