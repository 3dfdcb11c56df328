"""A norm keeps running statistics if it moves them in training; one rule for all that ask."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from accel.parts.shared.batch_norms import batch_norms, keeps_statistics


def stopped(kind: type[nn.Module]) -> nn.Module:
    norm: nn.Module = kind(2)
    norm.track_running_stats = False  # its buffers stay, and evaluation uses them
    return norm


def bare(kind: type[nn.Module]) -> nn.Module:
    norm: nn.Module = kind(2)
    norm.running_mean = norm.running_var = None
    return norm


@pytest.mark.parametrize(
    ("norm", "keeps"),
    [
        (nn.BatchNorm1d(2), True), (nn.BatchNorm1d(2, affine=False), True), (nn.BatchNorm1d(2, track_running_stats=False), False),
        (stopped(nn.BatchNorm1d), False), (bare(nn.BatchNorm1d), False), (nn.InstanceNorm1d(2), False),
        (nn.InstanceNorm1d(2, track_running_stats=True), True), (nn.LayerNorm(2), False),
    ],
    ids=lambda value: str(value),
)  # fmt: skip
def test_the_rule_is_what_training_moves(norm: nn.Module, keeps: bool) -> None:
    before = {name: buffer.clone() for name, buffer in norm.named_buffers() if name.startswith("running")}
    norm(torch.arange(12.0).view(3, 2, 2))
    assert any(not torch.equal(before[name], norm.get_buffer(name)) for name in before) == keeps
    assert keeps_statistics(norm) == keeps
    assert ("" in batch_norms(norm)) == (keeps and isinstance(norm, nn.BatchNorm1d))
