"""Graphs on the CPU: operators recorded once and run again without Python. tests/cuda/test_cuda_graphs.py has the device's."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import ConfigError, TrainingError
from accel.optim.kernel_row import KernelRow
from accel.optim.lamb import LAMB as FusedLAMB
from accel.optim.lars import LARS as FusedLARS
from accel.parts import Part, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.system.clock import COMPILE
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


@pytest.mark.filterwarnings("ignore:data is a list whose elements may be samples or ready batches")
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
    replayed = fit_toy([taped_graph(warmup=1), AdamW(), OneCycle(max_lr=0.1)]).spy.run.parts.optim
    plain = fit_toy([AdamW(), OneCycle(max_lr=0.1)]).spy.run.parts.optim
    assert isinstance(replayed.optimizer.param_groups[0]["lr"], Tensor)
    assert replayed.state_dict()["param_groups"] == plain.state_dict()["param_groups"]
    replayed.load_state_dict(plain.state_dict())
    assert isinstance(replayed.optimizer.param_groups[0]["lr"], Tensor), "held again"


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
            actual = super().capture(*args)
            inputs.append(weakref.ref(actual.inputs[0]))
            return actual

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
    assert [phase for phase, spent in enumerate(run.clock.spent) if spent] == [COMPILE]


@pytest.mark.parametrize("plugins", [[], [Accumulate(steps=2)]], ids=["plain", "window"])
def test_a_replay_renews_the_numbers_that_the_loss_logs(plugins: list[Part]) -> None:
    logged = []

    class Spy(Watch):
        def begin(self, run: Run) -> None:
            self.update = run.parts.update

        def after(self, step: int, loss: Tensor) -> None:
            logged.append(self.update.logged["twice"])

    def loss(model: nn.Module, batch: Tensor) -> Any:
        mean = model(batch).square().mean()
        return mean, {"twice": 2 * mean.detach()}

    data, losses = [torch.randn(4, 2) for _ in range(8)], []
    for graph in ([], [taped_graph(warmup=1)]):
        torch.manual_seed(0)
        Trainer(nn.Linear(2, 1), data, loss=loss, plugins=[*plugins, *graph, Spy()], watch=(), epochs=2).fit()
        losses.append([number.item() for number in logged])
        logged.clear()
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == len(losses[0])


@pytest.mark.filterwarnings("ignore:data is a list")
def test_a_number_of_the_host_would_not_be_renewed() -> None:
    data = [torch.randn(4, 2) for _ in range(3)]
    trainer = Trainer(
        nn.Linear(2, 1), data, loss=lambda m, b: (m(b).square().mean(), {"one": 1.0}), plugins=[taped_graph(warmup=1)], watch=()
    )
    with pytest.raises(ConfigError, match="cuda_graph: the loss logs 'one' as a number of the host"):
        trainer.fit()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError("CUDA error: out of memory")])
def test_memory_that_is_short_in_a_capture_is_called_so(error: RuntimeError) -> None:
    """The capture ends with another error, which that one led to."""

    class Short(type(taped_graph().make_recorder(torch.device("cpu")))):  # type: ignore[misc]
        def capture(self, work: Any) -> Any:
            try:
                raise error
            finally:
                raise RuntimeError("operation failed due to a previous error during capture")

    graph = taped_graph(warmup=1)
    graph.make_recorder = lambda device: Short()
    with pytest.raises(TrainingError, match=r"cuda_graph: memory is short in the capture of an update \(CUDA .*out of memory"):
        fit_toy([graph])
