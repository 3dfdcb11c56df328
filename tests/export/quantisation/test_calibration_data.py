"""What is calibrated with is cut by samples, and a number that stands beside them, such as a temperature, stays whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.export.quantisation.calibration_data import EnoughSamples, InputRecord, graph_batches


class Scaled(nn.Module):
    def forward(self, points: Tensor, temperature: Tensor) -> Tensor:
        return points * temperature


def test_a_number_beside_the_samples_is_kept_as_it_is() -> None:
    kept: list[Any] = []
    record = InputRecord(Scaled(), 5, kept.append)
    points, temperature = torch.randn(4, 3), torch.tensor(2.0)
    for _ in range(2):
        record(points, temperature)
    with pytest.raises(EnoughSamples):
        record(points, temperature)
    assert [len(call[0]) for call in kept] == [4, 1]
    assert all(torch.equal(call[1], temperature) for call in kept)
    singles = graph_batches(kept, None, 1)
    assert [(len(call[0]), call[1].item()) for call in singles] == [(1, 2.0)] * 5
