"""Remedies are tried in their order, kept if they are faster and no worse, or left out with a reason; time moves by work alone."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import Tensor, nn

from accel import Trainer
from accel.compare import Limits
from accel.diagnose.decision.remedies import Changes, Possible, Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials import reader_tuning
from accel.diagnose.trials import remedy_trials as module
from accel.diagnose.trials.applied_in_order import apply_remedies
from accel.diagnose.trials.tried_remedy import AppliedRemedies
from accel.errors import Interrupted
from accel.parts import Part
from tests.support.worked_time import CLOCK, FASTER, SECOND, Idle, Quick, Readers, Slow, Still, Timed, time_by_work

PLUGINS: dict[str, Callable[[], Part]] = {"quick": Quick, "idle": Idle, "slow": Slow, "still": Still, "readers": Readers}


@pytest.fixture(autouse=True)
def worked_time(monkeypatch: pytest.MonkeyPatch) -> None:
    time_by_work(monkeypatch)
    for name in ("LIMITS", "SEARCH"):
        monkeypatch.setattr(module, name, Limits(min_rounds=2, max_rounds=2, step=1))


class Costly(Timed):
    """A run in which half a second of an update is there whatever the batch."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        loss = super().loss(model, batch)
        if self.settings.batch_size is not None and self.settings.batch_size > 8:
            CLOCK.advance((self.settings.batch_size / 8 - 1) * SECOND)
        return loss


def made(kind: type[Trainer], overrides: Overrides) -> Trainer:
    plugins = [PLUGINS[name](**settings(overrides, name)) for name in overrides.plugins]
    return kind(plugins=plugins, watch=(), batch_size=dict(overrides.settings).get("batch_size", 2), device="cpu", dropout=0.0)


def settings(overrides: Overrides, name: str) -> dict[str, Any]:
    return {key.rpartition(".")[2]: value for key, value in overrides.settings if key.startswith(f"plugins.{name}.")}


def make(overrides: Overrides, kind: type[Trainer] = Timed) -> Callable[[], Trainer]:
    return partial(made, kind, overrides)


def remedy(name: str, overrides: Overrides | None = None, changes: Changes = "nothing") -> Remedy:
    overrides = Overrides((name,)) if overrides is None else overrides
    return Remedy(Possible(name, f"plugins=[{name!r}]", ("compute",), changes, overrides=overrides), None, 9.0)


def applied(*remedies: Remedy, kind: type[Trainer] = Timed) -> AppliedRemedies:
    return apply_remedies(remedies, partial(make, kind=kind))


def test_what_is_faster_is_kept_and_the_next_is_tried_beside_it() -> None:
    result = applied(remedy("slow"), remedy("quick"), remedy("idle"))
    assert [one.is_kept for one in result.tried] == [False, True, False]
    assert result.kept == Overrides(("quick",))
    speeds = [one.speed for one in result.tried]
    assert all(speed is not None for speed in speeds)
    assert [speed.ratio for speed in speeds if speed] == pytest.approx([1 / 1.05, 1 / (1 - FASTER), 1.0])
    assert result.together is None, "there is but one"


def test_a_better_speed_with_a_worse_loss_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Quick` in the place of an optimiser that hardly moves is worse than none: the loss decides."""

    def worse(overrides: Overrides) -> Callable[[], Trainer]:
        return partial(made, Timed, Overrides((*overrides.plugins, "still") if overrides.plugins else ()))

    monkeypatch.setattr(module, "UPDATES", 60)
    (one,) = apply_remedies([remedy("quick")], worse).tried
    assert one.speed is not None
    assert one.speed.low > 1.1
    assert one.loss is not None
    assert one.loss.is_worse
    assert not one.is_kept
    assert "loss +" in one.sentence


def test_what_is_not_tried_says_why() -> None:
    result = applied(
        remedy("quick", changes="recipe"), remedy("evaluate_less", Overrides(settings=(("evaluate.epochs", 2),))),
        remedy("dataset", Overrides()),
    )  # fmt: skip
    assert [one.reason for one in result.untried] == [
        "it changes the recipe", "updates are what is timed, and how often the run is evaluated is yours to choose",
        "no override does it",
    ]  # fmt: skip
    assert result.tried == ()
    assert not result.kept


class Broken(Quick):
    """Fails in its first update, as code of a user's does."""

    def model(self, model: nn.Module) -> nn.Module:
        raise RuntimeError("no such kernel\nfor this model")


def test_a_change_that_does_not_work_is_a_sentence_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PLUGINS, "broken", Broken)
    broken, quick = applied(remedy("broken"), remedy("quick")).tried
    assert broken.reason == "the run fails with it (RuntimeError: no such kernel for this model)"
    assert not broken.is_kept
    assert quick.is_kept


def test_readers_are_tuned_once_and_what_was_found_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reader_tuning.DEPTHS, "readers", "depth")
    two, eight = (
        remedy("readers", Overrides(("readers",), (("plugins.readers.count", count), ("plugins.readers.seconds", 3.5))))
        for count in (2, 8)
    )
    result = applied(two, eight)
    (one,) = result.tried
    assert one.tuned is not None
    assert dict(one.overrides.settings)["plugins.readers.count"] == 4
    assert not one.is_kept, "the run without them does not wait at all"
    assert any("the model is the limit" in line for line in result.lines)


def test_the_batch_size_that_fits_is_found_and_not_kept() -> None:
    """Up to 8 samples an update takes as long as for 2, from there on it grows as they do."""
    result = applied(remedy("larger_batch", Overrides(settings=(("batch_size", 4),)), "recipe"), kind=Costly)
    assert result.tried == result.untried == ()
    assert not result.kept
    batch = result.batch
    assert batch is not None
    assert (batch.own, batch.size) == (2, 4)
    assert batch.speed == pytest.approx(2, rel=0.05)
    assert batch.end == "with 8 an epoch has fewer than 4 updates"
    assert batch.memory is not None
    assert "changes the recipe" in result.lines[-1]


def test_a_signal_ends_it_and_leaves_nothing_behind() -> None:
    def report(line: str) -> None:
        if "quick" in line:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        apply_remedies([remedy("idle"), remedy("quick")], make, report)
    assert signal.getsignal(signal.SIGTERM) is before
    assert mp.active_children() == []
