"""An update takes a few launches of kernels, however many parameters there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from nullcuda import devices
from torch import Tensor, nn

from accel import Trainer
from accel.parts import Average, Grads, Optim, Part, Run, Watch
from accel.parts import Clip as ClipPart
from accel.plugins.adamw import AdamW
from accel.plugins.average import Average as AverageOfSnapshots
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.muon import Muon
from accel.plugins.optimizer import Optimizer
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.schema import plugin_registry

AT_MOST = 12
FEW, MANY, MORE = 20, 200, 400
OF_LISTS = ("multi_tensor_apply_kernel", "CatArrayBatchedCopy")
"""Kernels that take many tensors at once: torch splits lists that are long."""
CHUNK = 30
"""Tensors of a list that torch gives to one launch, at least."""


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
        products: the products of matrices that it takes besides, for each shape: Muon's are three in each of five iterations.
    """

    make: Callable[[], Part]
    work: Callable[[Any, Run, Grads], Any]
    inf: bool = False
    products: int = 0


def step(part: Any, run: Run, grads: Grads) -> None:
    part.step(grads)


def clipped_step(part: Any, run: Run, grads: Grads) -> None:
    grads.norm()
    devices.reset()
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


CASES = {
    "sgd": Case(lambda: SGD(momentum=0.9), step, True),
    "adamw": Case(AdamW, step, True),
    "lamb": Case(LAMB, step, True),
    "lamb that cannot be skipped": Case(LAMB, step),
    "lamb after a clip": Case(LAMB, clipped_step, True),
    "lars": Case(LARS, step, True),
    "muon": Case(lambda: Muon(matrices=["*"]), step, True, products=15),
    "schedule_free": Case(ScheduleFree, step, True),
    "optimizer": Case(lambda: Optimizer(args={"momentum": 0.9}), step),
    "clip norm": Case(Clip, limit),
    "clip value": Case(lambda: Clip(mode="value"), limit),
    "clip adaptive": Case(lambda: Clip(mode="adaptive", skip="none"), limit),
    "ema": Case(EMA, average),
    "ema of an update that may be skipped": Case(EMA, average, True),
    "average": Case(lambda: AverageOfSnapshots(every=1), average),
    "average of all": Case(lambda: AverageOfSnapshots(last=None, every=1), average, True),
    "ema in a graph": Case(EMA, replayed_average),
}


ELSEWHERE: dict[str, str] = {}
"""Plugins of these parts whose launches are not theirs, each with the reason."""


def test_every_optimiser_average_and_clip_is_counted() -> None:
    counted = {case.make().name for case in CASES.values()} | set(ELSEWHERE)
    names = [name for name in plugin_registry.names() if issubclass(plugin_registry.load(name), Optim | Average | ClipPart)]
    assert {"adamw", "ema", "clip"} <= set(names) <= counted, f"no case for {set(names) - counted}"


def launches(case: Case, count: int) -> tuple[int, dict[str, int]]:
    """Return how many kernels and fills the work takes for so many parameters, and how many launches of each kernel."""
    counted: list[tuple[int, dict[str, int]]] = []

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
            counted.append((devices.launched(), devices.kernels()))

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
    name = {step: "optim", clipped_step: "optim", limit: "clip"}.get(case.work, "average")
    return getattr(run.parts, name)


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")
@pytest.mark.parametrize("name", CASES)
def test_an_update_takes_few_launches(name: str) -> None:
    totals, kernels = {}, {}
    for count in (FEW, MANY, MORE):
        totals[count], kernels[count] = launches(CASES[name], count)
    print(name, totals)
    assert totals[MANY] > 0
    assert totals[MANY] <= AT_MOST + CASES[name].products, totals
    for kernel, number in kernels[MORE].items():
        chunks = -(-(MORE - MANY) // CHUNK) * kernels[FEW].get(kernel, 0) if any(text in kernel for text in OF_LISTS) else 0
        assert number <= kernels[MANY].get(kernel, 0) + chunks, f"{kernel}: {[each.get(kernel, 0) for each in kernels.values()]}"
    assert totals[MORE] - sum(kernels[MORE].values()) == totals[MANY] - sum(kernels[MANY].values()), "fills"
