"""check_plugin finds what it is there to find."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from accel.errors import ConfigError
from accel.parts import Augment, Clip, Grads, Optim, Part, Run, Schedule, Watch
from accel.plugins.ema import EMA
from accel.plugins.oom import OOM
from accel.plugins.sgd import SGD
from accel.testing import check_plugin
from accel.testing.objective_checks import check_objectives
from accel.values import Positive
from tests.support.companions import COMPANIONS

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
    check_plugin(Harmless, beside=COMPANIONS)
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


@dataclass(eq=False)
class Unnamed(Clip):
    """Refuses a run of several objectives without its name."""

    def setup(self, run: Run) -> None:
        if not isinstance(run, Run):
            raise ConfigError("this clipping wants all of the run")


@dataclass(eq=False)
class ForgetsViews(Forgets):
    """Keeps its count where the run is its own."""

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.is_whole = isinstance(run, Run)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count} if self.is_whole else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state.get("count", 0)


@dataclass(eq=False)
class ReadsViews(Clip):
    def setup(self, run: Run) -> None:
        self.reads = not isinstance(run, Run)

    def limit(self, grads: Grads) -> Grads:
        if self.reads:
            grads.norm().item()
        return grads


@dataclass(eq=False)
class Shrinks(Clip):
    """Does something where there are objectives, however many."""

    def setup(self, run: Run) -> None:
        self.factor = 1.0 if isinstance(run, Run) else 2.0

    def limit(self, grads: Grads) -> Grads:
        grads.divide_by(torch.tensor(self.factor))
        return grads


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (Unnamed, "unnamed: the refusal in a run of two objectives does not name it: this clipping wants"),
        (ForgetsViews, "forgetsviews: a resumed run of two objectives differs"),
        (ReadsViews, "readsviews reads .* numbers on the host in a run of two objectives, the first at .*test_check_plugin.py"),
        (Shrinks, "with shrinks, a run of one objective is not the run of its loss"),
    ],
)
def test_a_run_of_objectives_is_checked(plugin: type[Part], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_objectives(plugin)
    check_objectives(Harmless)
    check_objectives(OOM)  # refused by its name
