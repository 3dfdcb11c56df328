"""An update takes a few launches of kernels, however many parameters there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from nullcuda import devices
from torch import Tensor, nn

from accel import Trainer
from accel.parts import Grads, Part, Run, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.muon import Muon
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD

AT_MOST = 12
FEW, MANY = 20, 200


class Layers(nn.Module):
    """So many matrices and vectors; each has a gradient."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.matrices = nn.ParameterList(torch.zeros(8, 8) for _ in range(count // 2))
        self.vectors = nn.ParameterList(torch.zeros(8) for _ in range(count // 2))


class Case(NamedTuple):
    """A part, and which of its work an update does.

    Args:
        make: the plugin.
        work: of the part, for a run and the gradients.
        inf: whether the update may be skipped, as under float16.
        blocked: why it takes more launches today.
    """

    make: Callable[[], Part]
    work: Callable[[Any, Run, Grads], Any]
    inf: bool = False
    blocked: str = ""


def step(part: Any, run: Run, grads: Grads) -> None:
    part.step(grads)


def limit(part: Any, run: Run, grads: Grads) -> None:
    part.limit(grads)


def average(part: Any, run: Run, grads: Grads) -> None:
    part.update(grads)


def replayed_average(part: Any, run: Run, grads: Grads) -> None:
    if part.weight is None:
        part.to_device_scalars()
    part.before_replay()
    part.update(grads)


ONE_EACH = "one launch for each parameter"
CASES = {
    "sgd": Case(lambda: SGD(momentum=0.9), step, True),
    "adamw": Case(AdamW, step, True),
    "lamb": Case(LAMB, step, True, ONE_EACH),
    "lars": Case(LARS, step, True, ONE_EACH),
    "muon": Case(lambda: Muon(matrices=["*"]), step, True, ONE_EACH),
    "schedule_free": Case(ScheduleFree, step, True, ONE_EACH),
    "clip norm": Case(Clip, limit),
    "clip value": Case(lambda: Clip(mode="value"), limit),
    "clip adaptive": Case(lambda: Clip(mode="adaptive", skip="none"), limit, False, ONE_EACH),
    "ema": Case(EMA, average),
    "ema of an update that may be skipped": Case(EMA, average, True, ONE_EACH),
    "ema in a graph": Case(EMA, replayed_average, False, ONE_EACH),
}


def launches(case: Case, count: int) -> int:
    """Return how many kernels and fills the work takes for so many parameters."""
    counted: list[int] = []

    class Count(Watch):
        def after(self, step: int, loss: Tensor) -> None:
            params = [param for _, param in run_of(self).parts.precision.params]
            for param in params:
                param.grad = torch.zeros_like(param)
            inf = torch.zeros((), device="cuda") if case.inf else None
            grads = Grads(params, torch.ones((), device="cuda") if case.inf else None, inf)
            part = part_of(run_of(self), case)
            devices.reset()
            case.work(part, run_of(self), grads)
            counted.append(devices.launched())

        def begin(self, run: Run) -> None:
            self.run = run

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return sum((param.sum() for param in model.parameters()), x.sum() * 0)

    data = torch.utils.data.DataLoader([torch.ones(1)] * 3, batch_size=None)
    Trainer(Layers(count), data, loss=loss, plugins=[case.make(), Count()], watch=(), device="cuda").fit()
    return counted[-1]


def run_of(watch: Any) -> Run:
    run: Run = watch.run
    return run


def part_of(run: Run, case: Case) -> Any:
    """Return the part of a run that the case is about."""
    name = {step: "optim", limit: "clip"}.get(case.work, "average")
    return getattr(run.parts, name)


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.xfail(reason=case.blocked, strict=True)] if case.blocked else [])
        for name, case in CASES.items()
    ],
)
def test_an_update_takes_few_launches(name: str) -> None:
    counts = {count: launches(CASES[name], count) for count in (FEW, MANY)}
    print(name, counts)
    assert 0 < counts[MANY] <= AT_MOST, counts
