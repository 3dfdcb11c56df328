"""Graphs on the CPU: operators recorded once and run again without Python. tests/cuda/test_cuda.py has them on the device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import ConfigError
from accel.optim.kernel_row import KernelRow
from accel.optim.lamb import LAMB as FusedLAMB
from accel.optim.lars import LARS as FusedLARS
from accel.parts import Average, Grads, Objective, Parallel, Part, Run, Schedule
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.compile import Compile
from accel.plugins.cosine import Cosine
from accel.plugins.cuda_graph import CudaGraph, describe_cause
from accel.plugins.cyclic import Cyclic
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.recompute import Recompute
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.system.clock import OTHER
from accel.testing import fit_toy
from accel.testing.graph_replay import taped_graph
from accel.testing.toy_run import Toy

RUNS: dict[str, Callable[[], list[Part]]] = {
    "sgd": lambda: [SGD(lr=0.125, momentum=0.9)],
    "adamw": lambda: [AdamW()],
    "two groups": lambda: [AdamW(exclude="norm_and_bias"), Cosine()],
    "lamb": lambda: [LAMB(), OneCycle(max_lr=0.1)],
    "lars": lambda: [LARS(trust_clip=True)],
    "bfloat16": lambda: [AMP(), EMA()],
    "float16": lambda: [AMP(dtype="float16", force=True), AdamW(), EMA(), Clip(max_norm=0.1)],
    "muon": lambda: [Muon(matrices=["*"]), Cosine()],
    "schedule-free": lambda: [ScheduleFree()],
    "masters": lambda: [MasterWeights(dtype="float16", force=True), Accumulate(steps=2), Clip(max_norm=0.1)],
    "by value": lambda: [Clip(mode="value", max_value=0.01)],
    "everything": lambda: [
        AMP(dtype="float16", force=True), Accumulate(steps=2), Clip(max_norm=0.1), AdamW(), OneCycle(max_lr=0.1), EMA(decay=0.9)
    ],
}  # fmt: skip


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAMB and LARS go the way that they go on a device: on a CPU they read numbers in the host's memory."""
    monkeypatch.setattr(KernelRow, "on_host", False)
    monkeypatch.setattr(FusedLAMB, "reads_on_host", False)
    monkeypatch.setattr(FusedLARS, "reads_on_host", False)


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("name", RUNS)
def test_a_replay_is_the_update(name: str) -> None:
    graph = taped_graph(warmup=2)
    replayed = fit_toy([*RUNS[name](), graph], epochs=6)
    run = fit_toy([*RUNS[name](), taped_graph(warmup=1000)], epochs=6)
    assert replayed.equals(run)
    assert all(
        torch.equal(a, b)
        for one, other in zip(replayed.spy.states, run.spy.states, strict=True)
        for a, b in zip(one, other, strict=True)
    )
    assert graph.recorder.captures == 2, "a full window, and the short last one"
    assert graph.recorder.replays == len(replayed.losses) - 4
    plain = fit_toy(RUNS[name](), epochs=6)
    assert replayed.distance(plain) < 1e-6, "rates are rounded to float32"


def test_without_rounded_rates_it_is_the_run_without_it() -> None:
    plugins = [SGD(lr=0.125), EMA()]  # 2 ** -3
    assert fit_toy([*plugins, taped_graph(warmup=1)], epochs=4).equals(fit_toy(plugins, epochs=4))


def test_skipped_updates_move_nothing() -> None:
    """An overflow inside of a replay: the loss is infinite where the batch is."""

    class Overflows(Toy):
        def data(self, split: str) -> Any:
            points, labels = super().data(split).tensors
            points = points.clone()
            points[9] = 3e38
            return torch.utils.data.TensorDataset(points, labels)

    def fit(graph: Part) -> Any:
        plugins = [AMP(dtype="float16", force=True), AdamW(), EMA(), graph]
        return Overflows(plugins=plugins, watch=(), epochs=5, batch_size=4).fit()

    graph = taped_graph(warmup=1)
    one, other = fit(graph), fit(taped_graph(warmup=1000))
    assert graph.recorder.replays > 20
    assert one.skipped == other.skipped == 5
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def shapes(graph: Any, sizes: list[int], **run: Any) -> Any:
    """Trains on batches of so many samples each."""

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = model(x).square().mean()
        return out

    torch.manual_seed(0)
    batches = [torch.ones(size, 4) for size in sizes]
    return Trainer(nn.Linear(4, 1), batches, loss=loss, plugins=[graph], watch=(), **run).fit()


def test_a_shape_is_captured_when_it_has_come_often_enough() -> None:
    graph = taped_graph(warmup=2)
    shapes(graph, [3, 3, 5, 3, 3, 5, 3])
    assert graph.recorder.captures == 1
    assert graph.recorder.replays == 3, "5 came twice only"


def test_so_many_shapes_and_no_more() -> None:
    graph = taped_graph(warmup=1, graphs=2)
    shapes(graph, [1, 2, 3] * 4)
    assert graph.recorder.captures == 2
    assert graph.recorder.replays == 6


def test_the_window_is_a_part_of_the_shape() -> None:
    graph = taped_graph(warmup=1)
    outcome = fit_toy([graph, Accumulate(steps=4)], epochs=4)
    assert outcome.equals(fit_toy([taped_graph(warmup=100), Accumulate(steps=4)], epochs=4))
    assert graph.recorder.captures == 2, "4 micro-batches, and 2, the last of which is short"


def test_numbers_beside_the_tensors_are_part_of_the_shape() -> None:
    def loss(model: nn.Module, batch: Any) -> Any:
        x, count = batch
        return model(x).square().mean() * count, count

    def fit(graph: Part) -> list[Tensor]:
        torch.manual_seed(0)
        batches = [(torch.ones(2, 4), 1 + i % 2) for i in range(12)]
        run = Trainer(nn.Linear(4, 1), batches, loss=loss, plugins=[graph, Accumulate(steps=3)], watch=(), epochs=3)
        return list(run.fit().model.parameters())

    graph = taped_graph(warmup=1)
    assert all(torch.equal(a, b) for a, b in zip(fit(graph), fit(taped_graph(warmup=100)), strict=True))
    assert graph.recorder.captures == 2


def test_losses_do_not_overwrite_each_other() -> None:
    outcome = fit_toy([taped_graph(warmup=1)], epochs=3)
    assert len({float(loss) for loss in outcome.losses}) == len(outcome.losses)
    result = shapes(taped_graph(warmup=1), [2] * 6)
    assert result.loss == shapes(taped_graph(warmup=100), [2] * 6).loss


def test_the_state_has_the_format_of_a_run_without_it() -> None:
    ours = fit_toy([taped_graph(warmup=1), AdamW(), OneCycle(max_lr=0.1)]).spy.run.parts.optim
    plain = fit_toy([AdamW(), OneCycle(max_lr=0.1)]).spy.run.parts.optim
    assert isinstance(ours.optimizer.param_groups[0]["lr"], Tensor)
    assert ours.state_dict()["param_groups"] == plain.state_dict()["param_groups"]
    ours.load_state_dict(plain.state_dict())
    assert isinstance(ours.optimizer.param_groups[0]["lr"], Tensor), "held again"


@pytest.mark.parametrize("stop", [7, 11, 14])
def test_resume_begins_without_graphs_and_ends_with_the_same_bits(stop: int, tmp_path: Any) -> None:
    def plugins() -> list[Part]:
        return [taped_graph(warmup=2), AdamW(), OneCycle(max_lr=0.1), EMA(decay=0.9), AMP(dtype="float16", force=True)]

    whole = fit_toy(plugins(), epochs=4)
    fit_toy(plugins(), epochs=4, out=tmp_path / "run", stop=stop)
    rest = fit_toy(plugins(), epochs=4, resume=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, rest.weights, strict=True))
    assert whole.metrics == rest.metrics


def test_loading_a_state_drops_the_graphs() -> None:
    graph = taped_graph(warmup=1)
    fit_toy([graph], stop=4)
    graph.graphs_by_shape["shape"] = object()
    graph.load_state_dict({})
    assert not graph.graphs_by_shape
    assert not graph.shape_counts


def test_graphs_are_freed_when_the_run_ends() -> None:
    graph = taped_graph(warmup=1)
    inputs = []

    class Kept(type(graph)):  # type: ignore[misc]
        def capture(self, *args: Any) -> Any:
            found = super().capture(*args)
            inputs.append(weakref.ref(found.inputs[0]))
            return found

    fit_toy([Kept(warmup=1)])
    assert inputs
    assert all(ref() is None for ref in inputs)


def test_capturing_is_booked_apart() -> None:
    graph = taped_graph(warmup=1)
    run = fit_toy([graph]).spy.run
    before = list(run.clock.spent)
    run.clock.spent[:] = [0.0] * len(before)
    tensor = torch.zeros(4, 6)
    window = next(iter(run.parts.group.windows(iter([(tensor, torch.zeros(4, dtype=torch.int64))]))))
    graph.capture(window, [tensor, window.micros[0].batch[1]])  # type: ignore[index]
    assert [phase for phase, spent in enumerate(run.clock.spent) if spent] == [OTHER]


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
    said = f"cuda_graph cannot capture the update (operation not permitted when stream is capturing in {__file__}:{line}):"
    assert str(error.value).startswith(said)


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
