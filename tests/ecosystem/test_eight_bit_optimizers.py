"""Optimisers of 8 bits by the plugin `optimizer`: those of bitsandbytes resume to the bit, those of torchao are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from accel import Trainer
from accel.parts.shared.imported.plain_state import unsaveable
from accel.plugins import Optimizer

RUN: dict[str, Any] = {"watch": (), "device": "cpu", "seed": 1}
X = torch.randn(24, 64, generator=torch.Generator().manual_seed(0))


def train(target: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64))  # weights of 6,144: of 8 bits from 4,096 on
    return Trainer(
        model, [(X[:8],), (X[8:16],), (X[16:],)], loss=lambda model, batch: (model(batch[0]) - batch[0]).square().mean(),
        plugins=[Optimizer(target=target, lr=1e-3)], **RUN, **settings,
    ).fit()  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("target", ["AdamW8bit", "Adam8bit", "Lion8bit"])
def test_those_of_bitsandbytes_are_resumed_to_the_bit(target: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra ecosystem")
    name = f"bitsandbytes.optim.{target}"
    whole = train(name, updates=7)
    train(name, updates=4, out=tmp_path / "run")
    resumed = train(name, updates=7, resume=str(tmp_path / "run"))
    assert resumed.loss == whole.loss
    assert all(torch.equal(value, whole.model.state_dict()[key]) for key, value in resumed.model.state_dict().items())
    state = torch.load(next((tmp_path / "run" / "checkpoints").glob("*.pt")), weights_only=True)["parts"]
    assert "torch.uint8" in {str(tensor.dtype) for tensor in tensors_of(state)}, "its state is of 8 bits"


def tensors_of(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for one in inner for tensor in tensors_of(one)]


def test_the_states_of_torchao_are_no_plain_tensors() -> None:
    pytest.importorskip("torchao", reason="needs the extra ecosystem")
    from torchao.optim.subclass_8bit import OptimState8bit

    state = OptimState8bit.zeros((4, 256), signed=True, block_size=256, device="cpu")
    assert unsaveable({"state": {1: {"exp_avg": state}}}) == "a OptimState8bit in state.1.exp_avg"
    assert unsaveable({"state": {1: {"exp_avg": torch.zeros(2)}}}) == ""
