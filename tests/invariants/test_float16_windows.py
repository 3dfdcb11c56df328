"""Whether an update in float16 is skipped does not depend on the order of its micro-batches, however uneven they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accel import Trainer
from accel.errors import AccelWarning
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.amp import AMP
from accel.plugins.ddp import DDP
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.master_weights import MasterWeights
from accel.plugins.oom import OOM
from accel.plugins.sgd import SGD
from tests.support.points_trainer import Keeps, Stop

TOKENS, WINDOW = 128, 4
COUNTS = (TOKENS, TOKENS, TOKENS // 2, 1)
PRECISIONS: dict[str, Callable[[], list[Part]]] = {
    "amp": lambda: [AMP(dtype="float16", force=True)],
    "master_weights": lambda: [MasterWeights(dtype="float16", force=True)],
    "amp, oom": lambda: [AMP(dtype="float16", force=True), OOM()],
    "amp, ddp": lambda: [AMP(dtype="float16", force=True), DDP()],
    "weights of float16": lambda: [FiniteGuard()],
}


def loss(model: nn.Module, batch: Any) -> Any:
    x, y = batch
    out, count = model(x.to(next(model.parameters()).dtype)).float(), int((y >= 0).sum())
    return cross_entropy(out, y, ignore_index=-1, reduction="sum") / max(1, count), count


def windows(order: tuple[int, ...], number: int = 3) -> list[Any]:
    batches = []
    for window in range(number):
        for place in order:
            generator = torch.Generator().manual_seed(10 * window + place)
            y = torch.randint(0, 5, (TOKENS,), generator=generator)
            y[COUNTS[place] :] = -1
            batches.append((torch.randn(TOKENS, 8, generator=generator), y))
    return batches


def run(order: tuple[int, ...], name: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    model: nn.Module = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.0), nn.ReLU(), nn.Linear(16, 5))
    half = name == "weights of float16"
    model = model.half() if half else model
    factor = 2.0**14 if half else 1.0  # as a loss scale would be

    def scaled(model: nn.Module, batch: Any) -> Any:
        value, count = loss(model, batch)
        return value * factor, count

    plugins = [SGD(lr=0.05 / factor, momentum=0.0), Accumulate(steps=WINDOW), *PRECISIONS[name]()]
    trainer = Trainer(model, windows(order), loss=scaled, plugins=plugins, **({"watch": ()} | settings))
    no_ddp = pytest.warns(AccelWarning, match="trains alone") if "ddp" in name else nullcontext()
    with pytest.warns(AccelWarning, match="16 bits") if half else no_ddp:
        return trainer.fit()


@pytest.mark.parametrize("name", PRECISIONS)
def test_the_order_does_not_decide_what_is_skipped(name: str) -> None:
    results = [run(order, name) for order in list(permutations(range(WINDOW)))[::5]]
    assert [result.skipped for result in results] == [0] * len(results)
    for result in results[1:]:
        for one, other in zip(results[0].model.parameters(), result.model.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0.01, atol=2e-3)


def test_a_loss_that_overflows_does_so_in_every_order() -> None:
    def skipped(order: tuple[int, ...]) -> int:
        plugins = [SGD(lr=0.05), Accumulate(steps=WINDOW), AMP(dtype="float16", force=True, init_scale=2.0**22)]
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 5))
        return Trainer(model, windows(order, 12), loss=loss, plugins=plugins, watch=()).fit().skipped

    counts = {skipped(order) for order in list(permutations(range(WINDOW)))[::5]}
    assert len(counts) == 1
    assert counts != {0}


def test_counting_leaves_no_trace() -> None:
    """Dropout, BatchNorm and the order of everything random are as without it: in float32 there is none."""
    seen: list[Tensor] = []

    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            noise = torch.rand(())
            seen.append(noise)
            return x

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), Noise(), nn.Linear(16, 5))
    plugins = [SGD(), Accumulate(steps=WINDOW), AMP(dtype="float16", force=True)]
    Trainer(model, windows((3, 0, 1, 2)), loss=loss, plugins=plugins, watch=()).fit()
    assert int(model[1].num_batches_tracked) == 3 * WINDOW
    assert len(seen) == 4 * WINDOW, "the first window's forward passes ran twice"
    assert seen[:WINDOW] == seen[WINDOW : 2 * WINDOW]


@pytest.mark.parametrize("tells_items", [False, True])
def test_counting_leaves_no_trace_in_what_the_user_keeps(tells_items: bool) -> None:
    """A loss without items has no forward pass too many; with items, what the extra ones wrote is undone."""

    class Counts(nn.Linear):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.seen = [*getattr(self, "seen", []), self.calls]
            return super().forward(x)

    model = Counts(8, 5)
    plugins = [SGD(), Accumulate(steps=WINDOW), AMP(dtype="float16", force=True)]
    Trainer(
        model, windows((3, 0, 1, 2)), loss=loss if tells_items else lambda *args: loss(*args)[0], plugins=plugins, watch=()
    ).fit()
    assert model.calls == 3 * WINDOW
    assert model.seen == list(range(1, 3 * WINDOW + 1))


def test_a_resumed_run_keeps_the_reference(tmp_path: Path) -> None:
    order = (3, 0, 1, 2)
    whole = run(order, "amp", out=tmp_path / "whole", epochs=2)
    with pytest.raises(Stop):
        run(order, "amp", out=tmp_path / "cut", epochs=2, checkpoint_every=1, watch=[Keeps(stop=4)])
    resumed = run(order, "amp", out=tmp_path / "cut", epochs=2, resume="auto")
    assert all(map(torch.equal, whole.model.parameters(), resumed.model.parameters()))
