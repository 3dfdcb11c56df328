"""The call that a model is exported with: fewer samples than a batch of the evaluation has, and sizes that may change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.example import ModelCall, make_example


class SamplesLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, points: Tensor) -> Tensor:
        turned: Tensor = self.layer(points.t())
        return turned


def test_a_model_that_takes_samples_elsewhere_is_a_sentence_with_its_line() -> None:
    reason = r"the model takes 6 rows, .* and not 4: mat1 and mat2 .* line \d+: turned.*; an export needs samples in the first dim"
    with pytest.raises(ConfigError, match=reason):
        make_example(SamplesLast(), ModelCall((torch.randn(6, 8),), {}, None), "batch", None)
