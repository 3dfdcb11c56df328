"""Runs in which all work comes as late as CUDA allows have the numbers of those in which it comes at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from nullcuda import devices
from torch import Tensor, nn

from accel import Trainer
from accel.device.async_readback import AsyncReadback
from accel.parts import Run, Watch
from accel.plugins.cuda_graph import CudaGraph
from accel.plugins.sgd import SGD
from accel.plugins.stream import Stream
from accel.plugins.threads import Threads
from tests.rehearsal import races
from tests.rehearsal.mutants import MUTANTS

pytestmark = pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")


@pytest.fixture(autouse=True)
def lazy() -> Iterator[None]:
    with devices.configured(lazy=1):
        yield


@pytest.mark.parametrize("name", [*races.BATCHES, *races.SAMPLES])
def test_late_work_gives_the_same_numbers(name: str, tmp_path: Any) -> None:
    late = races.fit(name, tmp_path / "late")
    with devices.configured(lazy=0):
        assert races.fit(name, tmp_path / "early") == late


@pytest.mark.parametrize("name", [*races.BATCHES, *races.SAMPLES])
def test_an_error_ends_a_run_after_the_copies_that_are_under_way(name: str, tmp_path: Any) -> None:
    """Memory that a copy is still to use is not let go of: the plugin of pytest's looks for races."""
    with pytest.raises(KeyError, match="mine"):
        races.fit(name, tmp_path / "run", fails_at=4 if "graph" not in name else 2)


@dataclass(eq=False)
class Reader(Watch):
    """Reads the loss without waiting, as metrics and progress do."""

    def begin(self, run: Run) -> None:
        self.readback, self.numbers = AsyncReadback(1, run.device), list[float]()

    def after(self, step: int, loss: Tensor) -> None:
        with torch.no_grad():
            self.readback.slots[0].copy_(loss.detach())
        self.numbers += self.readback.poll() or []
        self.readback.start()


def read_losses(graph: bool) -> tuple[list[float], float]:
    """Return the losses that were read on the way, and the last one, of samples whose mean is known."""
    net, reader = nn.Linear(4, 1), Reader()
    with torch.no_grad():
        net.weight.fill_(1.0)
        net.bias.zero_()  # type: ignore[union-attr]
    plugins = [Threads(count=1, depth=1), Stream(), SGD(lr=1e-9), reader, *([CudaGraph(warmup=2)] if graph else [])]
    result = Trainer(
        net,
        races.Samples(),
        loss=lambda model, batch: model(batch[0]).mean(),
        plugins=plugins,
        watch=(),
        device="cuda",
        batch_size=4,
        seed=1,
    ).fit()
    return reader.numbers, result.loss


@pytest.mark.races
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_race_is_seen(mutant: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    graph, before = mutant == "capture_without_waits", devices.races()
    expected = read_losses(graph)
    assert devices.races() == before
    assert all(torch.isfinite(torch.tensor(expected[0])))
    MUTANTS[mutant](monkeypatch)
    try:
        actual = read_losses(graph)
    except Exception:
        return
    finally:
        devices.drain_all()
    assert repr(actual) != repr(expected) or devices.races() > before
