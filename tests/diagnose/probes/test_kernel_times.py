"""Kernels are timed where there are some, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from accel.diagnose.probes.kernel_times import kernel_seconds
from accel.diagnose.probes.operator_times import is_product


def test_a_cpu_has_no_kernels() -> None:
    assert kernel_seconds(lambda: torch.ones(2).add(1), torch.device("cpu")) == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_products_of_a_device_take_most_of_a_product() -> None:
    matrix = torch.randn(1024, 1024, device="cuda")
    torch.cuda.synchronize()
    times = kernel_seconds(lambda: (matrix @ matrix).add_(1), matrix.device)
    if not times:
        pytest.skip("the profiler sees no kernel here")
    assert set(times) == {"mm", "add_"}
    assert times["mm"] > times["add_"] > 0


@pytest.mark.parametrize(
    "name", ["mm", "addmm", "cudnn_convolution", "_flash_attention_forward", "_efficient_attention_backward", "_conv_depthwise2d"]
)
def test_operators_below_autograd_are_products_too(name: str) -> None:
    assert is_product(name)
    assert not is_product("native_batch_norm")
