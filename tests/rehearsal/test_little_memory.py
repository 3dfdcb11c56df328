"""64 MB of device memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from accel import Trainer
from accel.errors import AccelWarning
from accel.parts import Part
from accel.plugins.cuda_graph import CudaGraph
from accel.plugins.oom import OOM

WIDE = 20_000
pytestmark = [
    pytest.mark.skipif(torch.cuda.mem_get_info()[1] > 64 << 20, reason="needs a device of 64 MB"),
]


class Wide(nn.Module):
    """y = tanh(x w)^2, number by number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDE))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).tanh().square()


def fit(*plugins: Part, samples: int) -> None:
    data = DataLoader([torch.ones(samples, WIDE)] * 6, batch_size=None)
    Trainer(Wide(), data, loss=lambda model, x: model(x).mean(), plugins=plugins, watch=(), device="cuda").fit()


def test_what_does_not_fit_is_told_as_that() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        fit(samples=330)


def test_oom_trains_in_pieces() -> None:
    with pytest.warns(AccelWarning, match="oom: memory was short in update 1"):
        fit(OOM(), samples=330)


def test_a_capture_that_runs_out_of_memory_says_so() -> None:
    with pytest.raises(Exception, match="out of memory") as caught:
        fit(CudaGraph(warmup=1), samples=130)
    assert "must not read" not in str(caught.value)
