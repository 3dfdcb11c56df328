"""Runs that are timed beside each other: in this process, or each in one of its own where they switch something of all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.arm_process import ArmProcess
from accel.diagnose.ablation.told_failures import told_failures
from accel.diagnose.ablation.trial_request import named_plugins, trial_request
from accel.diagnose.trials.rank_table import LoneRank
from accel.parts import Backend, Compile, Parallel
from accel.system.stop_signals import StopSignals

__all__ = ["AnyArm", "MakeTrainer", "TimedArms", "arm_apart", "arm_here", "needs_process"]

MakeTrainer = Callable[[], Any]
"""Function that makes a trainer, in any process. Raises ConfigError if it cannot work."""
AnyArm = Arm | ArmProcess


@contextmanager
def arm_apart(make_trainer: MakeTrainer) -> Iterator[ArmProcess]:
    """Give a run in a process of its own, ready to be timed."""
    names = frozenset(named_plugins(make_trainer()._request()))
    with closing(ArmProcess(make_trainer, names)) as process:
        process.calibrate()
        yield process


@contextmanager
def arm_here(make_trainer: MakeTrainer, signals: StopSignals) -> Iterator[Arm]:
    """Give a run in this process, ready to be timed. Its trainer lives as long."""
    trainer = make_trainer()
    request = trainer._request()
    with closing(Arm(trial_request(request, named_plugins(request)), signals)) as arm:
        arm.calibrate()
        yield arm


def needs_process(make_trainer: MakeTrainer) -> bool:
    """Return whether a run switches something of its whole process: threads, allocator, products, compiled code, ranks' group."""
    return any(isinstance(plugin, Backend | Compile | Parallel) for plugin in named_plugins(make_trainer()._request()).values())


class TimedArms:
    """Place of runs that are held open, at most one of them in this process and one apart, as the base of all comparisons.

    Args:
        make_base: makes the trainer of the base.
        signals: signals that may end the process.
        ranks: of the run, which open and close together.
    """

    def __init__(self, make_base: MakeTrainer, signals: StopSignals, ranks: LoneRank) -> None:
        self.make_base, self.signals, self.ranks = make_base, signals, ranks
        self.held: dict[bool, tuple[AnyArm, ExitStack]] = {}
        """The base, and what closes it, by whether it is in a process of its own."""

    def close(self) -> None:
        """Give up the base."""
        while self.held:
            self.held.popitem()[1][1].close()

    def base(self, apart: bool) -> AnyArm:
        """Return the base, in this process or apart. Every rank must call it."""
        if apart not in self.held:
            self.held[apart] = self.open(self.make_base, apart)
        return self.held[apart][0]

    def replace(self, make_base: MakeTrainer, arm: AnyArm, cleanup: ExitStack) -> None:
        """Take another run as the base, which is open already."""
        self.close()
        self.make_base = make_base
        self.held[isinstance(arm, ArmProcess)] = arm, cleanup

    def open(self, make_trainer: MakeTrainer, apart: bool) -> tuple[AnyArm, ExitStack]:
        """Return a run that is ready to be timed, and what closes it. Every rank must call it, and waits for the others.

        Raises:
            ConfigError: on every rank, if it cannot work on one of them.
        """

        def opened() -> tuple[AnyArm, ExitStack]:
            with told_failures(), ExitStack() as cleanup:
                if apart:
                    return cleanup.enter_context(arm_apart(make_trainer)), cleanup.pop_all()
                return cleanup.enter_context(arm_here(make_trainer, self.signals)), cleanup.pop_all()

        return self.ranks.together(opened)
