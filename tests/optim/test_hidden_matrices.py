"""Which parameters are hidden matrices."""

from __future__ import annotations

import pytest
from torch import nn

from accel.optim.hidden_matrices import hidden_matrices
from accel.tasks.models.convnet import convnet
from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import small


class Odd(nn.Module):
    """A table, attention, a kernel that is no matrix, weights of no layer, a column, and an output that shares the table."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.place = nn.Parameter(nn.init.ones_(nn.Linear(8, 5).weight))
        self.attention = nn.MultiheadAttention(8, 2)
        self.depthwise = nn.Conv1d(8, 8, 3, groups=8)
        self.up = nn.ConvTranspose1d(8, 8, 3)
        self.column = nn.Linear(8, 1)
        self.lstm = nn.LSTM(8, 4)
        self.head = nn.Linear(8, 10, bias=False)
        if tied:
            self.head.weight = self.table.weight


@pytest.mark.parametrize("tied", [True, False])
def test_odd_models(tied: bool) -> None:
    # where the output is the embedding, nothing else is the output: but the last of what is left counts as it
    actual = hidden_matrices(Odd(tied))
    assert actual[:2] == ["attention.in_proj_weight", "attention.out_proj.weight"]
    assert actual[2:] == (["lstm.weight_ih_l0"] if tied else ["lstm.weight_ih_l0", "lstm.weight_hh_l0"])


def test_the_models_that_come_with_accel() -> None:
    assert hidden_matrices(convnet(10)) == ["0.weight", "3.weight", "7.weight"]
    blocks = [f"blocks.{i}.{name}.weight" for i in range(2) for name in ("qkv", "out", "up", "down")]
    assert hidden_matrices(GPT(256, 16, 2, 2, 8)) == blocks, (
        "the output is the embedding, so the last layer of the last block is none"
    )
    resnet = hidden_matrices(small(10))
    assert "fc.weight" not in resnet
    assert all(("conv" in name or "downsample" in name) for name in resnet)
    assert len(resnet) == 1 + 4 * 2 + 3


def test_plain_networks() -> None:
    assert hidden_matrices(nn.Linear(4, 4)) == []
    assert hidden_matrices(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))) == ["0.weight"]
    stack = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2)))
    assert hidden_matrices(stack) == ["0.0.weight", "1.0.weight"]
    assert hidden_matrices(nn.Sequential(stack, nn.Linear(4, 4))) == ["0.0.0.weight", "0.1.0.weight"]
