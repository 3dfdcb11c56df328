"""A clock that only work moves, a run whose update takes a second of it, and plugins whose cost is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor, nn

from accel.diagnose.ablation import arm
from accel.errors import ConfigError
from accel.parts import Activations, Clip, Guard, Layout, Loader, Optim, Prefetch, Run
from accel.testing.toy_run import Toy

SECOND, SLOWER, FASTER = 1.0, 0.05, 0.2


class Clock:
    """Seconds that pass only where work is done."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


CLOCK = Clock()


def time_by_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let arms be timed by `CLOCK`."""
    monkeypatch.setattr(arm, "perf_counter", CLOCK)
    monkeypatch.setattr(arm, "WINDOW", 2 * SECOND)


class Timed(Toy):
    """A toy whose update takes a second."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        CLOCK.advance(SECOND)
        return super().loss(model, batch)


@dataclass(eq=False)
class Slow(Guard):
    """Makes each update slower."""

    def check(self, grads: Any, loss: Tensor) -> Any:
        CLOCK.advance(SLOWER)
        return super().check(grads, loss)


@dataclass(eq=False)
class Quick(Layout):
    """Makes each update faster; of two such plugins, the second brings nothing."""

    def model(self, model: nn.Module) -> nn.Module:
        model.register_forward_pre_hook(lambda *_: CLOCK.advance(-FASTER))
        return model


@dataclass(eq=False)
class Idle(Activations):
    """Does nothing."""


@dataclass(eq=False)
class Still(Optim):
    """Moves the weights by next to nothing."""

    lr: float = 1e-9


@dataclass(eq=False)
class Frail(Clip):
    """Ends a run without `Slow`: with this error."""

    error: Any = None

    def setup(self, run: Run) -> None:
        self.fails = not isinstance(run.parts.guard, Slow)

    def limit(self, grads: Any) -> Any:
        if self.fails:
            raise self.error
        return grads


@dataclass(eq=False)
class Needy(Prefetch):
    """Cannot be without `Slow`."""

    def setup(self, run: Run) -> None:
        if not isinstance(run.parts.guard, Slow):
            raise ConfigError("needy works beside slow alone; add it")


@dataclass(eq=False)
class Readers(Loader):
    """Reads a batch in some seconds divided by the number of readers, beside the update before.

    Args:
        seconds: of a batch with one reader.
        gain: seconds that each update gains where more than three batches are read ahead.
        hurt: seconds that each reader costs an update.
    """

    seconds: float = 4.0
    gain: float = 0.0
    hurt: float = 0.0
    count: int = 1
    depth: int = 3

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.reader_count = self.count

    def set_readers(self, count: int) -> None:
        self.reader_count = count

    def set_depth(self, depth: int) -> None:
        self.depth = depth

    def epoch(self, batches: Any, epoch: int, start: int) -> Any:
        for batch in batches.epoch(epoch, start):
            CLOCK.advance(max(0.0, self.seconds / self.reader_count - SECOND) + self.hurt * self.reader_count)
            CLOCK.advance(0.0 if self.depth > 3 else self.gain)
            yield batch
