"""What only a CUDA device can show. Everything else about these pieces is tested on the CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer, optim
from accel.checkpoints.snapshot import Snapshot
from accel.data import DataLoaderX, Ring
from accel.data.datasets.image_folder import Augmented
from accel.data.datasets.shift_flip import ShiftFlip
from accel.data.loaders.device_batches import DeviceBatches
from accel.data.loaders.device_copy import DeviceCopier
from accel.errors import AccelWarning, TrainingError
from accel.parts import Autocast, Part, Run, Watch, Window
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.augment import Augment
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.cuda_graph import CudaGraph, Graph
from accel.plugins.dali import DALI
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.lr_range import LRRange
from accel.plugins.master_weights import MasterWeights
from accel.plugins.memory import Memory
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.oom import OOM
from accel.plugins.pinned import Pinned
from accel.plugins.prefetch import Prefetch
from accel.plugins.profiler import Profiler
from accel.plugins.recompute import Recompute
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.plugins.stream import Stream
from accel.plugins.sync_guard import SyncGuard
from accel.plugins.tensorboard import TensorBoard
from accel.plugins.threads import Threads
from accel.system.machine import importable
from accel.tasks.images import Images
from accel.tasks.models.gpt import GPT
from accel.testing import ToyResult, fit_toy
from tests.plugins import test_dali
from tests.support import sample_datasets
from tests.support.sample_datasets import Drawn, Filled, md5
from tests.support.sync_error_watch import Strict
from tests.support.wide_model import BYTES, SAMPLES, Wide, batches, in_pieces, trained

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@contextmanager
def syncs_raise() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def everything(dtype: Any, precision: type[Autocast] = AMP) -> list[Part]:
    return [precision(dtype=dtype), Accumulate(steps=2), Clip(), AdamW(), OneCycle(), EMA()]


@pytest.mark.parametrize("precision", [AMP, MasterWeights])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("tokens", [False, True])
def test_no_update_waits_for_the_device(dtype: str, tokens: bool, precision: type[Autocast]) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]

    def loss(model: nn.Module, x: Tensor) -> Any:
        value = model(x).float().square().mean()
        return (value, len(x)) if tokens else value

    watch = ("metrics", "progress", Strict())
    Trainer(nn.Linear(4, 1), batches, loss=loss, plugins=everything(dtype, precision), watch=watch, device="cuda").fit()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [AdamW, LAMB])
def test_adaptive_clipping_and_cycled_momentum_do_not_wait(dtype: Any, make: Any) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]
    plugins = [AMP(dtype=dtype), Clip(mode="adaptive", skip="none"), make(), OneCycle(cycle_momentum=True)]
    Trainer(
        nn.Linear(4, 1), batches, loss=lambda m, x: m(x).float().square().mean(), plugins=plugins, watch=(Strict(),), device="cuda"
    ).fit()


def test_adaptive_clipping_and_cycled_momentum_are_those_of_the_cpu() -> None:
    found = [
        fit_toy([Clip(mode="adaptive"), AdamW(), OneCycle(max_lr=0.05, cycle_momentum=True)], device=device, dropout=0.0)
        for device in ("cpu", "cuda")
    ]
    pairs = zip(*(outcome.weights for outcome in found), strict=True)
    assert max(float((a - b.cpu()).abs().max()) for a, b in pairs) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_run_after_a_range_test_is_the_run_without_it(dtype: Any) -> None:
    bare, tried = (fit_toy([*everything(dtype), *probe], device="cuda") for probe in ([], [LRRange(updates=12)]))
    assert bare.equals(tried)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_skips_and_orders_hold(dtype: str) -> None:
    plugins = everything(dtype)
    ahead = fit_toy(plugins, device="cuda", overflow=[3])
    behind = fit_toy(everything(dtype)[::-1], device="cuda", overflow=[3])
    assert ahead.distance(behind) < 1e-6
    if dtype == "float16":
        assert int(ahead.spy.run.parts.precision.skipped) == 1  # type: ignore[arg-type]
        assert all(torch.isfinite(weight).all() for weight in ahead.weights)


def test_augmenting_does_not_wait_and_is_that_of_the_cpu() -> None:
    settings: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "resize_from": 0.5, "num_classes": 3}
    generator = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8, generator=generator),
            torch.randint(0, 3, (8,), generator=generator),
        )
        for _ in range(8)
    ]

    def train(device: str) -> list[Tensor]:
        net, seen = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), []

        def loss(model: nn.Module, batch: Any) -> Tensor:
            seen.extend(batch)
            return nn.functional.cross_entropy(model(batch[0].permute(0, 3, 1, 2)), batch[1])

        data = [tuple(member.to(device) for member in batch) for batch in batches]
        watch = (Strict(),) if device == "cuda" else ()
        Trainer(net, data, loss=loss, plugins=[Augment(**settings), AdamW()], watch=watch, device=device).fit()
        return seen

    for ours, theirs in zip(train("cuda"), train("cpu"), strict=True):
        assert torch.allclose(ours.cpu(), theirs, atol=1e-2)  # of 255


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_master_weights_are_amp_to_the_last_bit(dtype: str) -> None:
    amp = fit_toy(everything(dtype), device="cuda", overflow=[3], epochs=3)
    assert amp.equals(fit_toy(everything(dtype, MasterWeights), device="cuda", overflow=[3], epochs=3))


@pytest.mark.parametrize("optim", [Muon, ScheduleFree, lambda: ScheduleFree(base="sgd")])
def test_muon_and_schedule_free_wait_for_nothing_and_follow_the_cpu(optim: Any) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]
    plugins = [AMP(dtype="float16"), Accumulate(steps=2), Clip(), optim()]
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1))
    Trainer(
        model, batches, loss=lambda m, x: m(x).float().square().mean(), plugins=[*plugins, Strict()], watch=(), device="cuda"
    ).fit()
    skipped = fit_toy([AMP(dtype="float16"), optim()], device="cuda", overflow=[3])
    assert int(skipped.spy.run.parts.precision.skipped) == 1  # type: ignore[arg-type]
    here, there = (fit_toy([optim()], device=device, dropout=0.0) for device in ("cpu", "cuda"))
    for mine, theirs in zip(here.weights, there.weights, strict=True):
        torch.testing.assert_close(mine, theirs.cpu(), rtol=0.0, atol=2e-2 if optim is Muon else 1e-4)


def test_cuda_random_numbers_are_resumed(tmp_path: Any) -> None:
    whole = fit_toy([AdamW()], device="cuda", epochs=3)
    fit_toy([AdamW()], device="cuda", epochs=3, out=tmp_path / "run", stop=13)
    rest = fit_toy([AdamW()], device="cuda", epochs=3, resume=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.losses[12:], rest.losses, strict=True))


@pytest.mark.parametrize("consumes", [False, True])
@pytest.mark.parametrize("kind", [optim.LAMB, optim.LARS])
def test_lamb_and_lars_wait_for_nobody_and_equal_the_cpu(kind: Any, consumes: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    shapes = [(64, 32), (33, 5), (8, 4, 3, 3), (128,), ()]
    weights = [torch.randn(shape, generator=rng) for shape in shapes]
    steps = [[torch.randn(shape, generator=rng) for shape in shapes] for _ in range(6)]
    found = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(weight.to(device, copy=True)) for weight in weights]
        optim = kind(params)
        optim.frees_grads, optim.grad_scale, optim.found_inf = (
            consumes,
            torch.tensor(4.0, device=device),
            torch.zeros((), device=device),
        )
        for number, grads in enumerate(steps):
            for param, grad in zip(params, grads, strict=True):
                param.grad = (grad * 4).to(device)
            with syncs_raise() if device == "cuda" and number else nullcontext():
                optim.found_inf.fill_(float(number == 3))
                optim.step()
        found.append(params)
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs.cpu(), rtol=1e-5, atol=1e-6)


def test_the_counter_sees_what_waits() -> None:
    with syncs_raise(), pytest.raises(RuntimeError, match="synchroniz"):
        torch.ones(1, device="cuda").item()


GRAPHED: dict[str, Callable[[], list[Part]]] = {
    "sgd": lambda: [SGD(lr=0.125, nesterov=True)],
    "adamw": lambda: [AdamW(), OneCycle(max_lr=0.01)],
    "lamb": lambda: [LAMB(), Cosine()],
    "lars": lambda: [LARS(lr=1.0, trust_clip=True)],
    "bfloat16": lambda: [AMP(dtype="bfloat16"), AdamW(), Clip(max_norm=0.1)],
    "float16": lambda: [AMP(dtype="float16", growth_interval=7), AdamW(), Clip(max_norm=0.1), EMA(decay=0.9)],
    "muon": lambda: [Muon(matrices=["*"]), Cosine()],
    "schedule-free": lambda: [ScheduleFree()],
    "masters": lambda: [MasterWeights(dtype="bfloat16"), AdamW(), Clip(max_norm=0.1)],
    "accumulate": lambda: [Accumulate(steps=2), LAMB(), EMA()],
    "everything": lambda: everything("float16"),
}
EPOCHS = 18
"""Of 6 micro-batches: more than 50 updates, also of two each."""


def graphed(name: str, warmup: int, **run: Any) -> tuple[ToyResult, CudaGraph]:
    """A run in which an update is captured when its shape has come `warmup` times."""
    graph = CudaGraph(warmup=warmup)
    return fit_toy([*GRAPHED[name](), graph], device="cuda", **{"epochs": EPOCHS, **run}), graph


@dataclass(eq=False)
class Replays(CudaGraph):
    """Counts the updates that were replayed."""

    replays = 0

    def capture(self, window: Window, tensors: list[Tensor]) -> Graph:
        graph = super().capture(window, tensors)

        def replay() -> None:
            self.replays += 1
            graph.replay()

        return graph._replace(replay=replay)


@pytest.mark.parametrize("name", GRAPHED)
def test_a_replay_is_the_update_to_the_last_bit(name: str) -> None:
    graph = Replays(warmup=3)
    replayed = fit_toy([*GRAPHED[name](), graph], device="cuda", epochs=EPOCHS)
    run, _ = graphed(name, warmup=10_000)
    assert graph.replays == len(replayed.losses) - 2 * 3, "two shapes, of each of which three updates came before"
    assert replayed.equals(run), "dropout, and whatever else is drawn on the device, included"
    for one, other in zip(replayed.spy.states, run.spy.states, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_without_rounded_rates_the_graph_is_the_run_without_it() -> None:
    run, _ = graphed("sgd", warmup=3)
    assert run.equals(fit_toy(GRAPHED["sgd"](), device="cuda", epochs=EPOCHS))


def test_an_overflow_in_a_replay_moves_nothing() -> None:
    """The loss scale starts so high that the first updates overflow, most of them replayed."""

    def plugins() -> list[Part]:
        return [AMP(dtype="float16", init_scale=2.0**40), AdamW(), EMA(decay=0.9)]

    graph = Replays(warmup=1)
    replayed = fit_toy([*plugins(), graph], device="cuda", epochs=EPOCHS)
    run = fit_toy([*plugins(), CudaGraph(warmup=10_000)], device="cuda", epochs=EPOCHS)
    assert graph.replays > 50
    assert replayed.equals(run)
    skipped = int(replayed.spy.run.parts.precision.skipped)  # type: ignore[arg-type]
    assert skipped > 3
    still = [
        all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        for one, other in pairwise(replayed.spy.states)
    ]  # fmt: skip
    assert sum(still) == skipped - 1, "all but the first, before which nothing was looked at"


def test_a_run_with_graphs_is_resumed(tmp_path: Any) -> None:
    whole, _ = graphed("everything", warmup=2, epochs=6)
    graphed("everything", warmup=2, epochs=6, out=tmp_path / "run", stop=10)
    rest, _ = graphed("everything", warmup=2, epochs=6, resume=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, rest.weights, strict=True))
    assert whole.metrics == rest.metrics


def test_no_replay_waits_for_the_device() -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(64)]

    def loss(model: nn.Module, x: Tensor) -> Any:
        return model(x).float().square().mean(), len(x)

    graph = Replays(warmup=3)
    watch = ("metrics", "progress", Strict(first=20, last=32))  # from there on everything is captured
    Trainer(nn.Linear(4, 1), batches, loss=loss, plugins=[*everything("float16"), graph], watch=watch, device="cuda").fit()
    assert graph.replays == 32 - 3


READING = """
import torch
from accel import Trainer
from accel.plugins import CudaGraph

def loss(model, x):
    out = model(x).mean()
    return out * float(out.detach())

Trainer(torch.nn.Linear(4, 1), [torch.ones(2, 4)] * 5, loss=loss, plugins=[CudaGraph(warmup=1)], watch=()).fit()
"""


def test_a_loss_that_waits_for_the_device_is_refused_when_it_is_captured() -> None:
    """In a process of its own: a capture that failed may leave torch's generator as if it went on."""
    done = subprocess.run([sys.executable, "-c", READING], capture_output=True, text=True, check=False)
    assert "ConfigError: cuda_graph cannot capture the update (" in done.stderr
    assert " in <string>:8): loss and model must not read numbers" in done.stderr


@pytest.mark.parametrize("make", [SGD, AdamW, lambda: LAMB(max_grad_norm=None), LARS])
def test_the_step_in_the_backward_pass_is_the_step(make: Callable[[], Part]) -> None:
    assert fit_toy([make(), StepInBackward()], device="cuda").equals(fit_toy([make()], device="cuda"))


def test_recomputation_changes_no_bit_and_takes_less_memory() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = model(x).square().mean()
        return out

    def fit(*plugins: Part) -> tuple[list[Tensor], int]:
        torch.manual_seed(0)
        net = GPT(64, context=128, layers=8, heads=4, width=128, dropout=0.1)
        data = list(torch.randint(64, (3, 8, 128), generator=torch.Generator().manual_seed(1)))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model = Trainer(net, data, loss=loss, plugins=plugins, watch=(), device="cuda").fit().model
        return list(model.parameters()), torch.cuda.max_memory_allocated() - before

    (plain, much), (ours, little) = fit(), fit(Recompute())
    assert all(torch.equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert little < 0.6 * much


@pytest.mark.parametrize("edge", ["black", "reflect"])
@pytest.mark.parametrize("flip", ["none", "random", "alternate"])
def test_resident_pictures_are_those_of_the_cpu_and_nothing_waits(flip: Any, edge: Any) -> None:
    pictures = torch.randint(256, (300, 8, 6, 3), dtype=torch.uint8)
    parts, moves = [pictures, torch.arange(300)], ShiftFlip(2, flip, edge)
    there, here = (DeviceBatches(parts, list, moves, 64, 5, True, torch.device(name)) for name in ("cuda", "cpu"))
    for epoch in range(3):
        next(there.epoch(epoch))  # what is made once is made here
        with syncs_raise():
            batches = list(there.epoch(epoch, 1))
        for ours, theirs in zip(batches, here.epoch(epoch, 1), strict=True):
            assert all(a.is_cuda and torch.equal(a.cpu(), b) for a, b in zip(ours, theirs, strict=True))


def test_float16_is_available_and_auto_is_cuda() -> None:
    @dataclass(eq=False)
    class Where(Watch):
        def begin(self, run: Run) -> None:
            self.device = run.device

    where = Where()
    Trainer(
        nn.Linear(2, 1), [torch.ones(1, 2)], loss=lambda m, x: m(x).mean(), plugins=[AMP(dtype="float16"), where], watch=()
    ).fit()
    assert where.device.type == "cuda"


def test_sync_guard_names_what_waits_on_cuda() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        value = model(x).square().mean()
        value.item()
        return value

    batches = [torch.randn(8, 4, device="cuda") for _ in range(8)]
    before = torch.cuda.get_sync_debug_mode()
    for ours, places in ((loss, ["tests/cuda/test_cuda.py"]), (lambda model, x: model(x).square().mean(), [])):
        result = Trainer(nn.Linear(4, 1), batches, loss=ours, plugins=[SyncGuard(), AdamW()], watch=(), device="cuda").fit()
        found = [str(row["where"]).partition(":")[0] for row in result.sections["sync_guard"].rows]
        assert found == places
    with pytest.raises(TrainingError, match=r"sync_guard: update 4 .*value.item\(\)"):
        Trainer(
            nn.Linear(4, 1), batches, loss=loss, plugins=[SyncGuard(action="raise"), AdamW()], watch=(), device="cuda"
        ).fit()  # fmt: skip
    assert torch.cuda.get_sync_debug_mode() == before


def test_memory_by_phase_and_snapshot_on_cuda(tmp_path: Path) -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        if model.training:
            torch.ones(50_000_000, device="cuda").sum()
        return model(x).square().mean()

    batches = [torch.randn(8, 4, device="cuda") for _ in range(8)]
    plugins = [Memory(snapshot=True), AdamW()]
    result = Trainer(nn.Linear(4, 1), batches, loss=loss, plugins=plugins, watch=(), device="cuda", out=tmp_path).fit()
    peaks = {row["phase"]: row["peak bytes"] for row in result.sections["memory"].rows}
    assert peaks["forward"] >= 200_000_000
    assert peaks["backward"] < 100_000_000
    assert "memory.pickle" in result.files


def test_the_profiler_sees_kernels() -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(8)]
    plugins = [Profiler(first=2, updates=3), AdamW()]
    result = Trainer(
        nn.Linear(4, 1), batches, loss=lambda m, x: m(x).mean(), plugins=plugins, watch=(), device="cuda"
    ).fit()  # fmt: skip
    section = result.sections["profiler"]
    assert "on the device" in section.title
    assert float(section.rows[0]["self ms"]) > 0


@pytest.mark.parametrize("optim", [AdamW(), AdamW(fused=False)], ids=["fused", "not fused"])
def test_updates_that_are_not_finite_move_nothing(optim: Part) -> None:
    outcome = fit_toy([FiniteGuard(), optim, EMA(), Clip()], device="cuda", overflow=[3, 8])
    states = outcome.spy.states
    for update in (3, 8):
        assert all(torch.equal(a, b) for a, b in zip(states[update - 2], states[update - 1], strict=True))
    assert int(outcome.spy.run.parts.guard.skipped) == 2  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="finite_guard: the loss or a gradient was not finite in"):
        fit_toy([FiniteGuard(in_a_row=1)], device="cuda", overflow=[3])


def test_the_finite_guard_and_the_curves_do_not_wait(tmp_path: Path) -> None:
    batches = [torch.randn(8, 4, device="cuda") for _ in range(16)]
    plugins = [*everything("bfloat16"), FiniteGuard(), TensorBoard(every=2)]
    watch = ("metrics", Strict())
    Trainer(nn.Linear(4, 1), batches, loss=lambda m, x: m(x).float().mean(), plugins=plugins, watch=watch, device="cuda").fit()


WAYS: list[list[Part]] = [
    [Pinned()],
    [Stream()],
    [Threads(), Stream()],
    [Threads(depth=1), Prefetch(), Pinned(), Accumulate(steps=3)],
]


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("data", [Filled, Drawn])
def test_what_reaches_the_device_is_what_was_read(way: int, data: type) -> None:
    def seen(plugins: list[Part]) -> list[str]:
        found: list[Tensor] = []

        def loss(model: nn.Module, batch: Any) -> Tensor:
            x, y = batch
            assert x.device.type == y.device.type == "cuda"
            big = torch.randn(1500, 1500, device="cuda")
            for _ in range(10):  # the device is behind: a batch that is written over too soon shows
                big = big @ big / 1500
            found.append(x.clone())
            return model(x.float()).mean()

        Trainer(
            nn.Sequential(nn.Flatten(), nn.Linear(6, 1)), data(), loss=loss, plugins=plugins, watch=(), epochs=3, batch_size=4,
            device="cuda",
        ).fit()  # fmt: skip
        return md5(x.cpu() for x in found)

    assert seen(WAYS[way]()) == seen([part for part in WAYS[way]() if isinstance(part, Accumulate)])


@pytest.mark.parametrize("plugin", [Pinned, Stream])
def test_no_copy_is_waited_for(plugin: type[Part]) -> None:
    data = [(torch.randn(64, 4), torch.zeros(64)) for _ in range(12)]
    Trainer(
        nn.Linear(4, 1), data, loss=lambda m, b: m(b[0]).square().mean(), plugins=[plugin()], watch=(Strict(),), device="cuda"
    ).fit()


def test_the_source_of_a_copy_is_held_until_the_copy_is_done() -> None:
    for beside in (False, True):
        copies = DeviceCopier(torch.device("cuda"), beside)
        torch.cuda._sleep(200_000_000)
        source = torch.ones(1 << 20)
        there = copies.finish(copies.start((source, "text")))
        assert len(copies.under_way) == 1
        assert there[0].device.type == "cuda"
        assert float(there[0].sum()) == 1 << 20
        torch.cuda.synchronize()
        copies.start(source)
        assert len(copies.under_way) == 1, "what is done is let go of"
        copies.close()
        assert not copies.under_way


def test_a_slot_of_the_ring_is_pinned_and_not_written_over_while_it_is_read() -> None:
    with Ring(sample_datasets.Wide(), 8, threads=2, depth=2, pin=True) as ring:
        expected = md5(ring.epoch(0))
        copies = DeviceCopier(torch.device("cuda"), beside=False)
        torch.cuda._sleep(200_000_000)
        there = []
        for batch in ring.epoch(0):
            assert batch[0].is_pinned()
            there.append(copies.finish(copies.start(batch)))
            del batch
        assert md5([[part.cpu() for part in batch] for batch in there]) == expected
        copies.close()


def test_dataloaderx_brings_batches_to_the_device() -> None:
    data = torch.utils.data.TensorDataset(torch.arange(40.0).reshape(20, 2))
    found = [batch[0] for batch in DataLoaderX(data, batch_size=4, device="cuda")]
    assert all(part.device.type == "cuda" for part in found)
    assert torch.cat(found).cpu().flatten().tolist() == list(range(40))


def test_the_copy_runs_beside_the_computation() -> None:
    """By events: the copy begins before the computation that was queued first has ended."""
    copies = DeviceCopier(torch.device("cuda"), beside=True)
    source = torch.empty(1 << 26).pin_memory()
    copies.start(source)  # the first allocates
    copies.close()
    done = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    done.record()
    arriving = copies.start(source)
    arriving.event.synchronize()
    assert not done.query()
    copies.close()


def test_a_snapshot_is_of_the_moment_it_was_taken_and_the_host_does_not_wait() -> None:
    """The device is kept busy, the copy queued behind that, and the tensor written to behind the copy."""
    device = torch.device("cuda")
    snapshot, live = Snapshot(device), torch.zeros(1 << 22, device=device)
    for number in range(3):
        live.fill_(number)
        torch.cuda.synchronize()
        torch.cuda._sleep(200_000_000)
        taken = snapshot.take({"live": live, "host": torch.ones(3)})
        live.fill_(-1)
        assert number == 0 or not snapshot.event.query(), "the host went on before the copy was made; the first allocates"
        snapshot.wait()
        assert taken["live"].is_pinned()
        assert torch.equal(taken["live"], torch.full((1 << 22,), float(number)))


def test_a_run_saved_beside_the_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = fit_toy([AdamW(), EMA()], epochs=2, device="cuda")
    fit_toy([AdamW(), EMA()], epochs=2, device="cuda", out=tmp_path / "run", checkpoint_every=1, stop=8)
    rest = fit_toy([AdamW(), EMA()], epochs=2, device="cuda", resume=tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, rest.weights, strict=True))


def peaks(x: Tensor) -> tuple[int, int]:
    """Bytes that a forward pass of `Wide` takes at most, and a backward pass, the batch included."""
    before, found = torch.cuda.memory_allocated(), []
    model, x = Wide().cuda(), x.cuda()
    loss = model(x).sum(1).mean()
    found.append(torch.cuda.max_memory_allocated() - before)
    torch.cuda.reset_peak_memory_stats()
    loss.backward()
    found.append(torch.cuda.max_memory_allocated() - before)
    return found[0], found[1]


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """Of the device's memory no more than so many bytes beside those that are taken."""
    torch.cuda.empty_cache()
    taken, whole = torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((taken + count) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_memory_of_the_device_that_is_really_short(where: str) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    forward, backward = peaks(batches(1)[0])
    assert backward > forward + BYTES
    update, seen = OOM(), list[int]()
    room = forward - BYTES // 2 if where == "forward" else (forward + backward) // 2
    with room_for(room), pytest.warns(AccelWarning, match="oom: memory was short in update 1"):
        short = trained(batches(1), update, device="cuda", seen=seen)
    assert (SAMPLES in seen) == (where == "backward"), "the forward pass went well, and the backward pass did not"
    assert 1 < update.size < SAMPLES
    assert torch.equal(short, in_pieces(1, update.size, device="cuda"))
    assert not torch.equal(short, torch.ones_like(short))


@pytest.mark.skipif(not importable("nvidia.dali"), reason="NVIDIA DALI is not installed: the extra dali")
def test_dali_decodes_on_the_gpu(tmp_path: Path) -> None:
    root = test_dali.pictures(tmp_path)
    data = Augmented(root / "train", test_dali.CLASSES, 32, "resized", flip=True)
    plain = test_dali.batches(data, epoch=1)
    found = test_dali.batches(data, epoch=1, device="mixed")
    assert all(batch[0].is_cuda and batch[0].dtype == torch.uint8 for batch in found)
    assert [batch[1].tolist() for batch in found] == [batch[1].tolist() for batch in plain]
    near = [value for ours, theirs in zip(found, plain, strict=True) for value in test_dali.psnr(ours[0].cpu(), theirs[0])]
    assert min(near) > 25, "those that are mirrored, or another picture's, are at 15 at most"
    plugin = DALI()
    result = Images(
        root=str(root), size=32, crop="resized", plugins=[plugin], watch=(), batch_size=5, epochs=1, device="cuda"
    ).fit()
    assert plugin.where == "mixed"
    assert result.samples == 12
