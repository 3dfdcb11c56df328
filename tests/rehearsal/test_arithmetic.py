"""CUDA tensors of null devices have the numbers that the CPU computes."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import torch
from nullcuda import devices
from torch import Tensor, nn

OPERATORS: dict[str, Callable[[Tensor], Any]] = {
    "product": lambda x: x @ x.t(),
    "out of place": lambda x: x.add(1).mul(x),
    "in place": lambda x: x.clone().add_(1),
    "view": lambda x: x.t()[1:].contiguous(),
    "reduction": lambda x: x.var(0),
    "several results": lambda x: x.sort(0),
    "norm with running numbers": lambda x: nn.BatchNorm1d(x.shape[1], device=x.device).double()(x),
    "lists": lambda x: torch._foreach_mul([x, x + 1], 2.0),
    "number by value": lambda x: x * torch.tensor(3.0, dtype=torch.float64),
    "dynamic shape": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "index": lambda x: x[torch.tensor([1, 0], device=x.device)],
    "index of the host": lambda x: x[torch.tensor([1, 0])],
    "number": lambda x: torch.equal(x, x),
    "convolution": lambda x: nn.functional.conv2d(x[None, None], x[None, None, :2, :2]),
    "from the host, other dtype": lambda x: x + torch.arange(5.0).to(x.device, torch.float64),
    "from the host, other order": lambda x: x @ torch.arange(10.0).double().view(2, 5).t().to(x.device),
    "to the host, other dtype": lambda x: x.to("cpu", torch.float32),
    "complex": lambda x: torch.fft.ifft(torch.complex(x, x).conj().resolve_conj().cpu()).real,
}


@pytest.mark.parametrize("lazy", [0, 1])
@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_that_of_the_cpu(name: str, lazy: int) -> None:
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with devices.configured(lazy=lazy):
        actual = OPERATORS[name](x.cuda())
        torch.testing.assert_close(
            torch.utils._pytree.tree_map_only(Tensor, Tensor.cpu, tuple(actual) if isinstance(actual, tuple) else actual),
            tuple(OPERATORS[name](x)) if isinstance(actual, tuple) else OPERATORS[name](x),
        )


def test_gradients_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.GELU(), nn.Linear(3, 1)), torch.randn(5, 4)
    net(x).square().sum().backward()
    expected = [param.grad for param in net.parameters()]
    net.zero_grad()
    net.cuda()(x.cuda()).square().sum().backward()
    for param, grad in zip(net.parameters(), expected, strict=True):
        assert param.grad is not None
        torch.testing.assert_close(param.grad.cpu(), grad)


def test_random_numbers_follow_the_generator() -> None:
    def drawn() -> Tensor:
        return torch.cat([torch.randn(4, device="cuda"), nn.functional.dropout(torch.ones(8, device="cuda"))]).cpu()

    torch.cuda.manual_seed(1)
    first, second = drawn(), drawn()
    state = torch.cuda.get_rng_state()
    third = drawn()
    torch.cuda.set_rng_state(state)
    assert torch.equal(drawn(), third)
    torch.cuda.manual_seed(1)
    assert torch.equal(drawn(), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("lazy", [0, 1])
def test_a_replay_computes_and_draws_on(lazy: int) -> None:
    with devices.configured(lazy=lazy):
        x, total = torch.ones(8, device="cuda"), torch.zeros(8, device="cuda")

        def work() -> None:
            total.add_(nn.functional.dropout(x))

        work()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        torch.cuda.manual_seed(5)
        total.zero_()
        graph.replay()
        graph.replay()
        replayed = total.cpu()
        torch.cuda.manual_seed(5)
        total.zero_()
        work()
        work()
        assert torch.equal(replayed, total.cpu())


def test_other_threads_compute() -> None:
    numbers: list[float] = []
    thread = Thread(target=lambda: numbers.append((torch.ones(3, device="cuda") * 2).sum().item()))
    thread.start()
    thread.join()
    assert numbers == [6.0]


def test_a_tensor_is_printed_with_its_numbers() -> None:
    assert repr(torch.ones(2, device="cuda")) == "tensor([1., 1.], device='cuda:0')"
