import sys

import pytest
import torch

from accel.device.cpu.denormals import flush_denormals, flushes_denormals, openmp_library

SIZE = 1 << 18
"""Numbers: enough for all threads to have a part."""
pytestmark = pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this CPU has no such switch")


def denormals(threads: int) -> int:
    """How many of many products by 1 come out as denormal numbers."""
    products = torch.full((SIZE,), 1e-40) * 1.0
    assert torch.get_num_threads() == threads
    return int(products.view(torch.int32).ne(0).sum())


@pytest.mark.parametrize("threads", [1, 3])
def test_all_threads_take_them_as_zero_and_are_put_back(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert denormals(threads) == SIZE
        assert not flushes_denormals()
        if sys.platform == "linux" and openmp_library() is None and threads > 1:
            pytest.skip("OpenMP's threads cannot be told here")
        assert flush_denormals(True)
        assert flushes_denormals()
        assert denormals(threads) == 0
        leaf = torch.full((SIZE,), 1.0, requires_grad=True)
        (leaf * 1e-20 * 1e-20).sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        assert int(leaf.grad.view(torch.int32).ne(0).sum()) == 0
    finally:
        flush_denormals(False)
        after = denormals(threads)
        torch.set_num_threads(before)
    assert after == SIZE
