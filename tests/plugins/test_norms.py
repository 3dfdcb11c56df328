"""Norms of gradients, weights and steps are those that a hand-written loop computes, before the clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.errors import ConfigError
from accel.plugins import SGD, Accumulate, Clip, StepInBackward
from accel.plugins.norms import Norms

torch.manual_seed(2)
X = torch.randn(24, 5)
Y = (X.sum(1) > 0).long()
ROWS = [(X[start : start + 4], Y[start : start + 4]) for start in range(0, 24, 4)]


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 2)))


def loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def logged(out: Path, norms: Norms, *plugins: Any, loss: Any = loss, **run: Any) -> list[dict[str, float]]:
    plugins = (SGD(lr=0.1, momentum=0.0), norms, *plugins)
    Trainer(net(), ROWS, loss=loss, plugins=plugins, watch=["metrics"], out=out, device="cpu", **run).fit()
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def reference(micro: int, limit: float) -> list[dict[str, float]]:
    model = net()
    rows = []
    for start in range(0, len(ROWS), micro):
        window = ROWS[start : start + micro]
        loss(model, tuple(map(torch.cat, zip(*window, strict=True)))).backward()
        params = list(model.parameters())
        norm = torch.cat([param.grad.flatten() for param in params if param.grad is not None]).norm()
        tail = torch.cat([param.grad.flatten() for param in params[2:] if param.grad is not None]).norm()
        before = torch.cat([param.detach().flatten() for param in params])
        nn.utils.clip_grad_norm_(params, limit)
        torch.optim.SGD(params, 0.1).step()
        model.zero_grad()
        after = torch.cat([param.detach().flatten() for param in params])
        step = (after - before).norm()
        rows.append({"grad_norm": norm, "grad_norm/2": tail, "weight_norm": after.norm(), "update_ratio": step / after.norm()})
    return [{name: float(value) for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("micro", [1, 2])
def test_they_are_those_of_a_loop_written_by_hand(micro: int, tmp_path: Path) -> None:
    plugins = [Clip(max_norm=0.05)] + ([Accumulate(micro)] if micro > 1 else [])
    actual = logged(tmp_path, Norms(every=1, depth=1), *plugins)
    for row, expected in zip(actual, reference(micro, 0.05), strict=True):
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-4)


def test_parts_are_by_depth_and_by_pattern(tmp_path: Path) -> None:
    rows = logged(tmp_path, Norms(every=4, depth=2, match=["*.bias"]))
    assert [row["update"] for row in rows if "grad_norm" in row] == [1, 5]
    parts = {name.partition("/")[2] for name in rows[0] if name.startswith("grad_norm")}
    assert parts == {"", "0", "2.0", "2.1", "*.bias"}


def test_it_changes_nothing(tmp_path: Path) -> None:
    with_norms = logged(tmp_path / "with", Norms(every=2))
    without = logged(tmp_path / "without", Norms(every=1000))
    assert [row["loss"] for row in with_norms] == [row["loss"] for row in without]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"norms.match\[0\]"):
        logged(tmp_path, Norms(match=["nothing.*"]))
    with pytest.raises(ConfigError, match="step_in_backward has each for itself"):
        logged(tmp_path, Norms(), StepInBackward())
    with pytest.raises(ConfigError, match="logs 'grad_norm', and so does norms; call it something else"):
        logged(tmp_path, Norms(), loss=lambda model, batch: (loss(model, batch), {"grad_norm": 1.0}))
