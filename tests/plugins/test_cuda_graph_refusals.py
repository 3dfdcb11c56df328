"""Updates that cannot be captured in a graph, each named with its cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import ConfigError
from accel.parts import Average, Grads, Objective, Parallel, Part, Run, Schedule
from accel.plugins.adamw import AdamW
from accel.plugins.compile import Compile
from accel.plugins.cuda_graph import CudaGraph, describe_cause
from accel.plugins.cyclic import Cyclic
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.onecycle import OneCycle
from accel.plugins.recompute import Recompute
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from accel.testing.graph_replay import taped_graph


@dataclass(eq=False)
class Counts(Average):
    """An average that counts on the host."""

    def setup(self, run: Run) -> None:
        self.step = 0
        self.live = [param for _, param in run.parts.precision.params]
        self.average = [param.detach().clone() for param in self.live]

    def update(self, grads: Grads) -> None:
        self.step += 1
        torch._foreach_lerp_(self.average, [param.detach() for param in self.live], 1.0 / self.step)

    def state_dict(self) -> dict[str, Any]:
        return {"average": dict(enumerate(self.average))}


class Claims(Counts):
    def capture_blocker(self) -> str:
        return ""


def test_the_tape_shows_what_the_host_counts() -> None:
    """The proof of the proof: an average that says it can be replayed, and cannot, comes out different."""
    replayed, run = (fit_toy([Claims(), taped_graph(warmup=n)], epochs=3).spy.states[-1] for n in (1, 1000))
    assert not all(torch.equal(a, b) for a, b in zip(replayed, run, strict=True))


class Ranks(Parallel):
    @property
    def world_size(self) -> int:
        return 2


class Decays(Objective): ...


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        (lambda: AdamW(fused=False), "adamw: AdamW is not fused, and takes its numbers from the host"),
        (lambda: SGD(fused=False), "sgd: SGD is not fused"),
        (lambda: OneCycle(max_lr=0.1, cycle_momentum=True), "onecycle: kernels take the momentum from the host; set plugins.one"),
        (lambda: Cyclic(cycle_momentum=True), "cyclic: kernels take the momentum from the host; set plugins.cyclic."),
        (lambda: Compile(mode="reduce-overhead"), "compile.mode=reduce-overhead uses CUDA graphs itself; set plugins.compile.m"),
        (lambda: Compile(mode="max-autotune"), "compile.mode=max-autotune uses CUDA graphs itself"),
        (LAMB, "lamb reads its norms on the host, where weights are in its memory"),
        (LARS, "lars reads its norms on the host"),
        (Counts, "counts does not say that it can be"),
        (Decays, "decays does not say that it can be"),
        (Ranks, "ranks does not say that it can be"),
    ],
)  # fmt: skip
def test_what_cannot_be_captured_is_refused_by_name(plugin: Callable[[], Part], says: str) -> None:
    for plugins in ([plugin(), taped_graph()], [taped_graph(), plugin()]):
        with pytest.raises(ConfigError) as error:
            fit_toy(plugins)
        assert str(error.value).startswith(f"cuda_graph cannot capture the update: {says}"), str(error.value)


def test_recomputation_is_refused_by_name() -> None:
    net = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4)) for _ in range(2)), *(Pair() for _ in range(2)))

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = model(x).mean()
        return out

    with pytest.raises(ConfigError, match=r"^cuda_graph cannot capture the update: recompute puts the random generator back"):
        Trainer(net, [torch.ones(2, 4)], loss=loss, plugins=[Recompute(), taped_graph()], watch=()).fit()


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


def test_a_schedule_of_ones_own_that_moves_the_momentum_is_stopped() -> None:
    class Waves(Schedule):
        def apply(self, step: int) -> None:
            self.optim.set_momentum(0.5)

    with pytest.raises(ConfigError, match="the momentum cannot move where updates are replayed"):
        fit_toy([Waves(), taped_graph()])


def test_a_loss_that_reads_on_the_host_is_named_with_its_line() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = model(x).mean()
        return out * float(out.detach())  # read

    with pytest.raises(ConfigError) as error:
        Trainer(nn.Linear(4, 1), [torch.ones(2, 4)] * 5, loss=loss, plugins=[taped_graph(warmup=1)], watch=()).fit()
    line = 1 + next(i for i, text in enumerate(Path(__file__).read_text().split("\n")) if text.endswith("# read"))
    message = f"cuda_graph cannot capture the update (operation not permitted when stream is capturing in {__file__}:{line}):"
    assert str(error.value).startswith(message)


def test_the_cause_is_the_first_error() -> None:
    def capture() -> None:
        try:
            raise RuntimeError("the first\nwith a stack")
        finally:
            raise RuntimeError("the capture is invalid")

    with pytest.raises(RuntimeError) as error:
        capture()
    assert describe_cause(error.value).startswith("the first in ")


def test_a_batch_that_cannot_be_copied_is_refused() -> None:
    class Graph:
        def to(self, device: Any) -> Graph:
            return self

    with pytest.raises(ConfigError, match=r"^cuda_graph cannot copy a Graph in a batch; let the data give tensors"):
        Trainer(nn.Linear(4, 1), [Graph()], loss=lambda m, x: m(x).mean(), plugins=[taped_graph()], watch=()).fit()


def test_on_a_cpu_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^cuda_graph: needs CUDA, and this run is on the CPU"):
        fit_toy([CudaGraph()])
