"""A run on the second of two devices: nothing of it lands on the first, in whatever thread, and the caller's device stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.device.async_readback import AsyncReadback
from accel.errors import ConfigError
from accel.parts import Part, Run, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.clip import Clip
from accel.plugins.cuda_graph import CudaGraph
from accel.plugins.pinned import Pinned
from accel.plugins.prefetch import Prefetch
from accel.plugins.stream import Stream
from accel.plugins.threads import Threads
from accel.plugins.workers import Workers

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available() or torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]
SECOND = torch.device("cuda:1")


@pytest.fixture(autouse=True)
def the_callers_device_stays() -> Iterator[None]:
    before = torch.cuda.current_device()
    yield
    assert torch.cuda.current_device() == before


class Data:
    """Samples that note the thread in which they are read, and its current device."""

    shape, dtype = (4,), np.float32

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    def __len__(self) -> int:
        return 32

    def fill(self, index: int, rng: np.random.Generator, out: Any) -> int:
        if not torch.cuda._is_in_bad_fork():  # a worker process has no device
            self.seen.add((threading.current_thread().name, torch.cuda.current_device()))
        out[...] = index
        return 0


@dataclass(eq=False)
class Written(Watch):
    """Notes the current device of the thread that writes checkpoints."""

    devices: set[int] = field(default_factory=set, init=False)

    def sync(self) -> None:
        self.devices.add(torch.cuda.current_device())


def loss(model: nn.Module, batch: Any) -> Tensor:
    assert batch[0].device == SECOND
    out: Tensor = model(batch[0]).float().square().mean()
    return out


READERS: dict[str, Callable[[], list[Part]]] = {
    "this thread": lambda: [Pinned()],
    "prefetch": lambda: [Prefetch(), Stream()],
    "threads": lambda: [Threads(count=2), Stream()],
    "threads, prefetch": lambda: [Threads(count=2), Prefetch(), Stream()],
    "workers, prefetch": lambda: [Workers(count=1), Prefetch(), Stream()],
}


@pytest.mark.parametrize("reader", READERS)
def test_every_thread_of_a_run_is_on_its_device(reader: str, tmp_path: Path) -> None:
    data, written = Data(), Written()
    Trainer(
        nn.Linear(4, 1), data, loss=loss, plugins=[*READERS[reader](), AdamW(), written], watch=(), device="cuda:1", batch_size=4,
        out=tmp_path / "run", checkpoint_every=3,
    ).fit()  # fmt: skip
    assert {device for _, device in data.seen} <= {1}
    assert written.devices == {1}


@dataclass(eq=False)
class Look(Watch):
    """Reads the loss of each update as watches do."""

    def begin(self, run: Run) -> None:
        self.readback, self.actual, self.run = AsyncReadback(1, run.device), list[float](), run

    def after(self, step: int, loss: Tensor) -> None:
        self.readback.slots[0].copy_(loss.detach())
        self.actual += self.readback.poll() or []
        self.readback.start()


@pytest.mark.parametrize("graph", [False, True])
def test_numbers_are_read_when_they_have_arrived(graph: bool) -> None:
    look = Look()
    batches = [torch.ones(2, 4) for _ in range(12)]
    plugins = [AdamW(), Clip(), look, *[CudaGraph(warmup=2)] * graph]
    result = Trainer(
        nn.Linear(4, 1), batches, loss=lambda m, x: m(x).square().mean() * 0 + 2.5, plugins=plugins, watch=(), device="cuda:1"
    ).fit()
    assert result.loss == 2.5
    assert set(look.actual) == {2.5}
    assert next(result.model.parameters()).device == SECOND
    assert look.run.device == SECOND


def test_the_current_device_is_the_runs_and_comes_back_after_an_error_too() -> None:
    def fails(model: nn.Module, x: Tensor) -> Tensor:
        assert torch.ones(1, device="cuda").device == SECOND
        raise KeyError("mine")

    with pytest.raises(KeyError):
        Trainer(nn.Linear(4, 1), [torch.ones(2, 4)] * 5, loss=fails, watch=(), device="cuda:1").fit()
    with torch.cuda.device(1):
        result = Trainer(
            nn.Linear(4, 1), [torch.ones(2, 4)] * 5, loss=lambda m, x: m(x).mean(), watch=(), device="cuda"
        ).fit()  # fmt: skip
        assert next(result.model.parameters()).device == SECOND
        assert torch.cuda.current_device() == 1


def test_a_device_that_is_not_there_is_refused() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(ConfigError, match=f"device=cuda:{count}: there are {count} here"):
        Trainer(nn.Linear(4, 1), [torch.ones(2, 4)] * 5, loss=loss, watch=(), device=f"cuda:{count}").fit()
