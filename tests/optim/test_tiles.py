"""What is done with tiles: on a CPU by the operations that are fast there, with the same numbers as elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from accel.optim.tiles import scale_into, squared_norms


class Operations(TorchDispatchMode):
    """Names of the operations that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def tensors(dtype: torch.dtype, shape: tuple[int, ...] = (7,)) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=rng).to(dtype) for _ in range(3)]


@pytest.mark.parametrize(
    ("dtype", "shape", "by_dot"), [(torch.float32, (7,), True), (torch.float32, (2, 3), False), (torch.bfloat16, (7,), False)]
)
def test_flat_tiles_in_float32_are_squared_by_the_dot_product(dtype: torch.dtype, shape: tuple[int, ...], by_dot: bool) -> None:
    values = tensors(dtype, shape)
    with Operations() as seen:
        squares = squared_norms(values)
    assert ("dot" in seen.names) == by_dot
    for value, square in zip(values, squares, strict=True):
        torch.testing.assert_close(square, value.float().square().sum(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("several", [False, True])
def test_tiles_of_the_dtype_are_scaled_in_one_pass(dtype: torch.dtype, several: bool) -> None:
    values, out = tensors(dtype), tensors(torch.float32)
    factors: Any = [torch.tensor(0.5), torch.tensor(2.0), torch.tensor(3.0)] if several else 0.5
    with Operations() as seen:
        scale_into(values, factors, out)
    assert set(seen.names) == ({"mul"} if dtype == torch.float32 else {"_foreach_copy_", "_foreach_mul_"})
    for number, (value, target) in enumerate(zip(values, out, strict=True)):
        assert torch.equal(target, value.float() * (factors[number] if several else factors))
