"""Random runs equal a loop that is written by hand, whatever model, data, windows, weights and plugins are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.parts import Part
from accel.schema import plugin_registry
from accel.testing.toy_run import Spy
from tests.support.drill_length import LONG, times
from tests.support.handwritten_runs import Outcome, by_hand
from tests.support.random_runs import Case, cases
from tests.support.random_tasks import epoch_batches, loss, make_data, make_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")]


def random_runs(quick: int, hours: int) -> Any:
    """Settings of hypothesis: the same runs every time in the suite, and other ones in `make drill`."""
    health = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(
        max_examples=times(quick, hours), deadline=None, database=None, derandomize=not LONG, suppress_health_check=health
    )


def plugin(name: str, **values: Any) -> Part:
    make: Any = plugin_registry.load(name)
    return make(**values)


@dataclass(eq=False)
class LoggedSpy(Spy):
    """A spy that remembers a number that the loss logs."""

    logged: list[float] = field(default_factory=list, init=False)

    def after(self, step: int, loss: torch.Tensor) -> None:
        super().after(step, loss)
        self.logged.append(float(self.run.parts.update.logged.get("size", 0.0)))


def plugins_of(case: Case) -> list[Part]:
    """The plugins of a case."""
    own = {"groups": case.groups or None, "layer_decay": case.layer_decay}
    plugins = [plugin(case.optimizer, **case.settings, **own), *map(plugin, case.loaders)]
    if case.window > 1:
        plugins.append(plugin("accumulate", steps=case.window))
    if case.schedule is not None:
        plugins.append(plugin(case.schedule[0], **case.schedule[1]))
    if case.clip is not None:
        plugins.append(plugin("clip", mode=case.clip[0], **{f"max_{case.clip[0]}": case.clip[1]}))
    if case.ema is not None:
        plugins.append(plugin("ema", decay=case.ema))
    if case.average is not None:
        plugins.append(plugin("average", **case.average))
    if case.guard:
        plugins.append(plugin("finite_guard", in_a_row=1000))
    if case.cast is not None:
        half = {"init_scale": 2.0**10, "force": True} if case.cast is torch.float16 else {}
        plugins.append(plugin("amp", dtype=str(case.cast).removeprefix("torch."), **half))
    return plugins


def by_accel(case: Case) -> Outcome:
    """Train with accel's plugins."""
    spy, x, held_out = LoggedSpy(), make_data(case), make_data(case, offset=1)
    data: Any = list(epoch_batches(case, x, 0)) if case.batches else TensorDataset(*x)
    start: list[torch.Tensor] = []

    class Task(Trainer):
        def model(self) -> torch.nn.Module:
            model = make_model(case)
            start.extend(param.detach().clone() for param in model.parameters())
            return model

        def data(self, split: str) -> Any:
            val = list(zip(held_out[0].split(3), held_out[1].split(3), strict=True))
            return data if split == "train" else val

        def loss(self, model: torch.nn.Module, batch: Any) -> Any:
            return loss(case, model, batch)

    settings: dict[str, Any] = {**case.length, "freeze": case.freeze or None, "evaluate_every": case.evaluate_every}
    result = Task(
        plugins=plugins_of(case), watch=[spy], batch_size=case.batch_size, seed=case.seed, device="cpu", **settings
    ).fit()  # fmt: skip
    weights = [param.detach().clone() for param in result.model.parameters()]
    return Outcome(weights, spy.losses, result.metrics["loss"], list(result.model.buffers()), start, spy.logged)


def gap(actual: list[torch.Tensor], expected: list[torch.Tensor], unit: list[torch.Tensor]) -> float:
    """The largest distance between two tensors, as a share of the norm of `unit`, or of 1 where that is longer."""
    pairs = zip(actual, expected, unit, strict=True)
    return max((float((a - b).double().norm()) / max(1.0, float(u.double().norm())) for a, b, u in pairs), default=0.0)


def check(case: Case, tolerance: float) -> None:
    actual, expected = by_accel(case), by_hand(case)
    assert all(torch.equal(a, b) for a, b in zip(actual.start, expected.start, strict=True))
    assert len(actual.losses) == len(expected.losses)
    assert gap(actual.weights, expected.weights, expected.weights) < tolerance
    assert gap([x.double() for x in actual.buffers], [x.double() for x in expected.buffers], expected.buffers) < tolerance
    for loss_by_accel, loss_by_hand, *logged in zip(actual.losses, expected.losses, actual.logged, expected.logged, strict=True):
        assert torch.isfinite(loss_by_accel) == torch.isfinite(loss_by_hand)
        if torch.isfinite(loss_by_hand):
            assert abs(float(loss_by_accel - loss_by_hand)) < 10 * tolerance * max(1.0, abs(float(loss_by_hand)))
            assert logged[0] == pytest.approx(logged[1], rel=10 * tolerance, abs=10 * tolerance, nan_ok=True)
    assert actual.metrics == pytest.approx(expected.metrics, rel=10 * tolerance, abs=10 * tolerance, nan_ok=True)


@random_runs(120, 100_000)
@given(cases())
def test_in_float64_within_a_ten_millionth(case: Case) -> None:
    # Muon's iteration is in float32, whatever the weights are
    check(case, 1e-4 if case.optimizer == "muon" else 1e-7)


@random_runs(40, 50_000)
@given(cases(halves=True))
def test_in_16_bits_within_a_few_roundings(case: Case) -> None:
    """Weights that differ in the last bit of float32 may round to other 16 bits, 2^-8 apart, where they are cast.

    A window's tokens are counted when its last micro-batch has been read. Until then gradients of 16 bits have another factor, and
    round elsewhere.
    """
    check(case, 3e-2 if case.tokens and case.window > 1 else 3e-3)
