"""check_plugin finds what it is there to find."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from accel.parts import Augment, Clip, Grads, Optim, Part, Run, Schedule, Watch
from accel.plugins.ema import EMA
from accel.plugins.sgd import SGD
from accel.testing import check_plugin
from accel.values import Positive

pytestmark = pytest.mark.slow


@dataclass(eq=False)
class Harmless(Clip):
    """Passes."""

    size: Positive = 1.0


@dataclass(eq=False)
class Untyped(Clip):
    size: Any = 1.0


@dataclass(eq=False)
class Leaks(Schedule):
    def apply(self, step: int) -> None:
        torch.set_num_threads(1)
        Optim.lr = 0.02


@dataclass(eq=False)
class Draws(Watch):
    """A watch that uses the run's random numbers."""

    def after(self, step: int, loss: Tensor) -> None:
        torch.rand(1)


@dataclass(eq=False)
class Reads(Clip):
    def limit(self, grads: Grads) -> Grads:
        if grads.norm() > 1:
            grads.divide_by(torch.tensor(2.0))
        return grads


@dataclass(eq=False)
class Forgets(Clip):
    """Keeps a count, and does not save it."""

    def setup(self, run: Run) -> None:
        self.count = 0

    def limit(self, grads: Grads) -> Grads:
        self.count += 1
        grads.divide_by(torch.tensor(1.0 + self.count))
        return grads


@dataclass(eq=False)
class MovesWhenSkipped(EMA):
    def update(self, grads: Grads) -> None:
        super().update(Grads(grads.params))


@dataclass(eq=False)
class PerMicroBatch(SGD):
    """Moves less the more micro-batches there are."""

    def setup(self, run: Run) -> None:
        self.lr = self.lr / run.parts.group.size
        super().setup(run)


@dataclass(eq=False)
class TwoParts(Clip, Augment):
    pass


def test_a_good_plugin_passes_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    random.seed(5)
    before = random.getstate(), torch.get_rng_state().tolist()
    check_plugin(Harmless)
    assert (random.getstate(), torch.get_rng_state().tolist()) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (Untyped, "untyped.size takes anything: annotate it with a kind"),
        (Leaks, "leaks leaves something behind"),
        (Draws, "draws changes the run"),
        (Reads, "reads reads 6 numbers on the host, the first at .*test_check_plugin.py"),
        (Forgets, "forgets: resumed losses differ"),
        (MovesWhenSkipped, "a skipped update moved something"),
        (PerMicroBatch, "accumulation is .* away from the big batch"),
        (TwoParts, "twoparts provides 2 parts"),
    ],
)
def test_a_bad_one_is_named_with_what_it_breaks(plugin: type[Part], sentence: str) -> None:
    try:
        with pytest.raises(AssertionError, match=sentence):
            check_plugin(plugin, beside=["ema"])
    finally:
        Optim.lr = 0.01
