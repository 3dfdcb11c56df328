from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.device import memory_peak
from accel.device.memory_peak import AllocationPeak, ProcessMemoryPeak, collect_tensors, peak_rss, tensor_bytes
from accel.errors import AccelWarning
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.ema import EMA
from accel.plugins.memory import Memory
from accel.testing import fit_toy
from accel.testing.toy_run import Toy

MB = 1_000_000
resets = pytest.mark.skipif(not ProcessMemoryPeak().resets, reason="the peak of resident memory cannot be reset here")


class Big(Trainer):
    """Takes 200 MB for a moment, in the forward pass of the updates `at`, in evaluation, or in the step of a watch."""

    def __init__(self, at: set[int], evaluation: bool = False, **run: Any) -> None:
        super().__init__(watch=(), **run)
        self.at, self.evaluation, self.updates = at, evaluation, 0

    def model(self) -> nn.Module:
        return nn.Linear(4, 1)

    def data(self, split: str) -> list[Tensor]:
        return [torch.ones(2, 4)] * 10

    def loss(self, model: nn.Module, x: Tensor) -> Tensor:
        self.updates += model.training
        if self.updates in self.at if model.training else self.evaluation:
            torch.ones(50 * MB).sum()
        return model(x).square().mean()


def peaks(*args: Any, every: int = 50, epochs: int = 2, **settings: Any) -> dict[str, float]:
    """The table of phases, in MB."""
    result = Big(*args, plugins=[Memory(every=every)], epochs=epochs, **settings).fit()
    return {str(row["phase"]): float(row["peak bytes"]) / MB for row in result.sections["memory"].rows}


@resets
def test_the_peak_is_that_of_its_phase() -> None:
    actual = peaks({1})
    assert list(actual) == ["data", "forward", "backward", "update", "evaluation", "checkpoint", "the whole run"]
    assert actual["forward"] - max(actual[name] for name in ("backward", "update", "evaluation")) > 150
    assert actual["the whole run"] == max(actual.values())


@resets
@pytest.mark.slow
def test_an_evaluation_is_always_looked_at() -> None:
    actual = peaks(set(), evaluation=True)
    assert actual["evaluation"] - actual["forward"] > 150


@resets
def test_the_whole_run_misses_nothing() -> None:
    actual = peaks({7})  # an update that is not looked at
    assert actual.pop("the whole run") - max(actual.values()) > 150, "and no phase is charged with what it did not do"
    assert peaks({7}, every=6)["forward"] - max(actual.values()) > 150, "update 7 is the one after the sixth"


def test_sizes() -> None:
    result = Toy(plugins=[Memory(), AdamW(), EMA(), AMP(dtype="float16", force=True)], watch=(), batch_size=4).fit()
    held = {row["what"]: row["bytes"] for row in result.sections["memory_held"].rows}
    weights = 4 * sum(param.numel() for param in result.model.parameters())
    steps = 4 * len(list(result.model.parameters()))
    assert held == {"weights": weights, "gradients": weights, "optimiser state": 2 * weights + steps, "average": weights}


def test_each_place_in_memory_counts_once() -> None:
    one = torch.ones(10)
    assert tensor_bytes([one, one, one.view(2, 5), None, torch.ones(0), torch.ones(3).to_sparse()]) == 40
    assert len(collect_tensors({"a": [one, {"b": one}], "c": 1, "d": (one,)})) == 3


def test_where_the_peak_cannot_be_reset_there_is_only_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory_peak, "CLEAR", tmp_path / "no" / "clear_refs")
    assert list(peaks({1})) == ["the whole process"]
    monkeypatch.setattr(memory_peak, "STATUS", tmp_path / "no" / "status")
    assert peak_rss() > 1e7, "which getrusage tells, and not that there was none"


def test_the_tables_are_in_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit_toy([Memory(), "progress", AdamW()], out=tmp_path)
    shown = capsys.readouterr().out
    assert "peak memory, resident memory of the process" in shown
    assert "optimiser state" in shown
    sections = json.loads((tmp_path / "summary.json").read_text())["sections"]
    assert sections["memory"]["rows"][-1]["peak bytes"] > 10 * MB


@pytest.mark.parametrize("every", [1, 3])
def test_the_run_keeps_its_bits(every: int) -> None:
    assert fit_toy([Memory(every=every), AdamW()]).equals(fit_toy([AdamW()]))


def test_a_snapshot_needs_cuda() -> None:
    with pytest.warns(AccelWarning, match="memory.snapshot has no effect on a CPU"):
        fit_toy([Memory(snapshot=True)])


def test_the_peak_of_allocations_is_that_of_a_block_and_counts_each_memory_once() -> None:
    before = torch.zeros(1000)
    with AllocationPeak(torch.device("cpu")) as peak:
        one = before + 1
        two = one * 2
        view = two.view(10, 100)
        del one
        view.add_(1)
        three = view.sum()
    assert peak.bytes == 8000
    assert peak.now == 4004
    del two, view, three
    assert peak.now == 0
