"""CUDA graphs of updates, on the device. tests/plugins/test_cuda_graph.py has their recording on the CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.parts import Part, Window
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.cuda_graph import CudaGraph, Graph
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.testing import ToyResult, fit_toy
from tests.support.cuda_runs import everything
from tests.support.sync_error_watch import Strict

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


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
