"""Schedules with a warm-up are pure functions of the update's index, and equal torch's and transformers'."""

from __future__ import annotations

from importlib.util import find_spec
from math import cos, pi, sqrt
from typing import Any

import pytest
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, MultiStepLR, PolynomialLR, StepLR

from accel.errors import AccelWarning, ConfigError
from accel.plugins.constant import Constant
from accel.plugins.linear import Linear
from accel.plugins.polynomial import Polynomial
from accel.plugins.step import Step
from accel.plugins.wsd import WSD
from accel.testing import fit_toy
from tests.invariants.test_schedules import ready, torchs

LENGTHS = [(total, warmup) for total in (2, 3, 10, 41) for warmup in (0, 1, 4, 20) if warmup < total - 1]
FLOORS = [0.0, 0.1, 1.0]


def rates(schedule: Any, total: int) -> list[float]:
    actual = ready(schedule, total)
    forwards = [actual.lr(step) for step in range(total)]
    assert forwards == [actual.lr(step) for step in reversed(range(total))][::-1], "it keeps no state"
    return forwards


def climb(warmup: int) -> list[float]:
    return torchs(lambda optimizer: LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup), warmup) if warmup else []


def close(expected: list[float]) -> Any:
    return pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("total", "warmup"), LENGTHS)
@pytest.mark.parametrize("floor", FLOORS)
def test_linear_is_torchs(total: int, warmup: int, floor: float) -> None:
    fall = torchs(lambda optimizer: LinearLR(optimizer, 1.0, floor, total - 1 - warmup), total - warmup)
    actual = rates(Linear(warmup=float(warmup), floor=floor), total)
    assert actual == close(climb(warmup) + fall)
    assert actual[-1] == 0.3 * floor, "it ends at its floor exactly"


@pytest.mark.parametrize(("total", "warmup"), LENGTHS)
@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_polynomial_is_torchs(total: int, warmup: int, power: float) -> None:
    fall = torchs(lambda optimizer: PolynomialLR(optimizer, total - 1 - warmup, power), total - warmup)
    actual = rates(Polynomial(power=power, warmup=float(warmup)), total)
    assert actual == close(climb(warmup) + fall)
    assert actual[-1] == 0.0


@pytest.mark.parametrize(("total", "warmup"), LENGTHS)
def test_constant_and_step_are_torchs(total: int, warmup: int) -> None:
    assert rates(Constant(warmup=float(warmup)), total) == close(climb(warmup) + [0.3] * (total - warmup))

    def chained(drops: Any) -> Any:
        return lambda optimizer: ChainedScheduler([LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup), drops(optimizer)])

    steps = chained(lambda optimizer: StepLR(optimizer, 3, 0.5)) if warmup else lambda optimizer: StepLR(optimizer, 3, 0.5)
    assert rates(Step(step_size=3.0, gamma=0.5, warmup=float(warmup)), total) == close(torchs(steps, total))
    places = [1] if total < 8 else [2, 7]
    milestones = chained(lambda optimizer: MultiStepLR(optimizer, places, 0.2))
    actual = rates(Step(milestones=[float(place) for place in places], gamma=0.2, warmup=float(warmup)), total)
    assert actual == close(torchs(milestones, total) if warmup else torchs(lambda o: MultiStepLR(o, places, 0.2), total))


def linear_of_transformers(step: int, warmup: int, total: int) -> float:
    return step / max(1, warmup) if step < warmup else max(0.0, (total - step) / max(1, total - warmup))


def wsd_of_transformers(step: int, warmup: int, stable: int, decay: int, shape: str, floor: float) -> float:
    if step < warmup:
        return step / max(1, warmup)
    if step < warmup + stable:
        return 1.0
    if step >= warmup + stable + decay:
        return floor
    share = (step - warmup - stable) / max(1, decay)
    left = {"linear": 1 - share, "cosine": 0.5 * (1 + cos(pi * share)), "sqrt": 1 - sqrt(share)}[shape]
    return left * (1 - floor) + floor


def polynomial_of_transformers(step: int, warmup: int, total: int, power: float, end: float) -> float:
    if step < warmup:
        return step / max(1, warmup)
    return end if step > total else (1 - end) * (1 - (step - warmup) / (total - warmup)) ** power + end


@pytest.mark.parametrize(("total", "warmup"), LENGTHS)
@pytest.mark.parametrize("floor", FLOORS)
def test_each_is_transformers_one_update_earlier(total: int, warmup: int, floor: float) -> None:
    steps = range(1, total + 1)
    assert rates(Linear(warmup=float(warmup)), total) == close([0.3 * linear_of_transformers(s, warmup + 1, total) for s in steps])
    expected = [0.3 * polynomial_of_transformers(s, warmup + 1, total, 0.9, floor) for s in steps]
    assert rates(Polynomial(power=0.9, warmup=float(warmup), floor=floor), total) == close(expected)
    for shape in ("sqrt", "linear", "cosine"):
        for decay in {1, max(1, (total - warmup) // 2)}:
            stable = total - warmup - 1 - decay
            expected = [0.3 * wsd_of_transformers(s, warmup + 1, stable, decay, shape, floor) for s in steps]
            actual = rates(WSD(warmup=float(warmup), decay=float(decay), shape=shape, floor=floor), total)  # type: ignore[arg-type]
            assert actual == close(expected)
            assert actual[-1] == 0.3 * floor


@pytest.mark.skipif(find_spec("transformers") is None, reason="the formulas above are those of transformers")
def test_the_formulas_are_those_of_transformers() -> None:
    import transformers as hf

    scheduler: Any = hf.get_wsd_schedule
    for shape in ("sqrt", "linear", "cosine"):
        kind = {"sqrt": "1-sqrt"}.get(shape, shape)
        theirs = torchs(lambda o, kind=kind: scheduler(o, 4, 6, num_training_steps=20, decay_type=kind, min_lr_ratio=0.0), 20)
        assert theirs == close([0.3 * wsd_of_transformers(s, 4, 10, 6, shape, 0.0) for s in range(20)])
    theirs = torchs(lambda o: hf.get_linear_schedule_with_warmup(o, 4, 20), 20)
    assert theirs == close([0.3 * linear_of_transformers(s, 4, 20) for s in range(20)])
    theirs = torchs(lambda o: hf.get_polynomial_decay_schedule_with_warmup(o, 4, 20, lr_end=0.03, power=0.9), 20)
    assert theirs == close([0.3 * polynomial_of_transformers(s, 4, 20, 0.9, 0.1) for s in range(20)])


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (Linear(warmup=12.0), "linear.warmup is 12 updates and the whole run 12"),
        (Constant(warmup=12.0), "constant.warmup is 12 updates and the whole run 12"),
        (WSD(warmup=4.0, decay=9.0), "wsd: 4 updates of warm-up and 9 of decay, and the whole run has 12"),
        (Step(milestones=[12.0]), "step.milestones: a drop at update 12, and the whole run has 12"),
        (Step(milestones=[0.5, 2.0]), r"step.milestones must grow, and in updates they are \[6, 2\]"),
    ],
)
def test_what_does_not_fit_into_the_run_is_refused(schedule: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        fit_toy([schedule])


def test_milestones_are_numbers_above_0_and_take_the_place_of_the_size() -> None:
    for wrong in ([0.0], ["x"], [-1.0]):
        with pytest.raises(ConfigError, match=r"step.milestones\[0\] must be a number above 0"):
            Step(milestones=wrong)  # type: ignore[arg-type]
    with pytest.warns(AccelWarning, match=r"step.step_size has no effect with step.milestones"):
        fit_toy([Step(milestones=[0.5], step_size=4.0)])


def test_lengths_in_updates_need_no_length_of_the_data() -> None:
    for schedule in (Constant(warmup=3.0), Constant(warmup=0.0), Step(step_size=4.0), Step(milestones=[2.0, 5.0])):
        assert ready(schedule, None).lr(1) > 0  # type: ignore[arg-type]
    for schedule in (Constant(), Step(), Linear(), WSD(), Polynomial()):
        with pytest.raises(ConfigError, match="needs the number of updates"):
            ready(schedule, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Constant(warmup=2.0), "0.01 after 2 updates of warm-up, constant"),
        (Linear(warmup=2.0, floor=0.1), "0.01 after 2 updates of warm-up, down to 0.001 in a straight line"),
        (Polynomial(warmup=0.0), "0.01, down to 0 as the power 2 of what is left"),
        (Step(step_size=5.0), "0.01, times 0.1 every 5 updates"),
        (Step(milestones=[0.5, 9.0]), "0.01, times 0.1 at 6, 9"),
        (WSD(warmup=1.0, decay=3.0), "0.01 after 1 updates of warm-up, constant, and down to 0 in the last 3 updates"),
    ],
)
def test_the_plan_says_its_course(schedule: Any, words: str) -> None:
    assert ready(schedule, 12, _optim()).plan_notes()["learning rate"] == words


def _optim() -> Any:
    from accel.plugins.sgd import SGD

    return SGD(lr=0.01)
