"""Activation checkpointing changes no bit, and frees what it is for."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.amp import AMP
from accel.plugins.compile import Compile
from accel.plugins.recompute import Recompute
from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import BasicBlock, ResNet
from accel.testing import fit_toy
from tests.support.drill_length import LONG


class Wide(nn.Module):
    """Convolution, BatchNorm and dropout, three times over."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.dropout = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Dropout(0.3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.dropout(self.norm(self.conv(x)).relu())
            return out

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Wide.Block() for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(x)
        return out


def gpt() -> GPT:
    return GPT(16, context=8, width=8, layers=3, heads=2, dropout=0.2)


def resnet() -> ResNet:
    return ResNet(BasicBlock, (2, 1), 4, side=8, width=8)


MODELS = [gpt, Wide, resnet]


def data(make: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    if make is gpt:
        return list(torch.randint(16, (4, 2, 8), generator=generator))
    return list(torch.randn(4, 4, 3, 8, 8, generator=generator))


class Fit(Trainer):
    def __init__(self, make: Any, **run: Any) -> None:
        super().__init__(**run)
        self.make = make

    def model(self) -> nn.Module:
        net: nn.Module = self.make()
        return net

    def data(self, split: str) -> Any:
        return data(self.make)

    def loss(self, model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).float().square().mean()  # type: ignore[no-any-return]


def fit(make: Any, *plugins: Part, **run: Any) -> dict[str, Tensor]:
    """Weights and buffers after two epochs, with an evaluation after each."""
    return Fit(make, plugins=plugins, watch=(), epochs=2, **run).fit().model.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("settings", [{}, {"every": 2}, {"early_stop": False}], ids=str)
def test_every_bit_is_the_same(make: Any, settings: Any) -> None:
    assert same(fit(make, Recompute(**settings)), fit(make)), "dropout and BatchNorm's statistics included"


@pytest.mark.parametrize("make", [gpt, Wide])
def test_with_autocast_and_accumulation(make: Any) -> None:
    others = [AMP(), Accumulate(steps=2)]
    assert same(fit(make, Recompute(), *others), fit(make, *others))


@pytest.fixture
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


EVERY = list(product(MODELS, ["eager", "aot_eager"], [False, True]))
COMPILED = EVERY if LONG else [one for number, one in enumerate(EVERY) if (number // 4 + number // 2 + number) % 2 == 0]
"""Models, backends and whether layers are compiled each for itself: any two together, and in the long drills all of them."""


@pytest.mark.usefixtures("_fresh")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's, in tracing
@pytest.mark.parametrize(("make", "backend", "regional"), COMPILED)
@pytest.mark.slow
def test_with_compile(make: Any, backend: str, regional: bool) -> None:
    compiled = Compile(backend=backend, regional=regional)
    assert same(fit(make, Recompute(), compiled), fit(make))


def test_it_runs_again_what_the_backward_pass_needs() -> None:
    class Counted(Wide.Block):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            Counted.calls += 1
            return super().forward(x)

    def net() -> nn.Module:
        return nn.Sequential(*(Counted() for _ in range(5)))

    def calls(*plugins: Part) -> int:
        Counted.calls = 0
        fit(net, *plugins)
        return Counted.calls

    once = calls()
    updates = 8
    assert calls(Recompute()) == once + 5 * updates, "each block in each backward pass, and never in evaluation"
    assert calls(Recompute(every=2)) == once + 3 * updates, "blocks 1, 3 and 5"


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors alive that were made inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self.seen: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.seen:
                    self.seen[storage._cdata] = storage.nbytes()
                    self.bytes += storage.nbytes()
                    weakref.finalize(storage, self.freed, storage._cdata)
        self.peak = max(self.peak, self.bytes)
        return out

    def freed(self, key: int) -> None:
        self.bytes -= self.seen.pop(key)


def peak(*plugins: Recompute) -> int:
    """The most bytes that one forward and backward pass keeps alive."""
    net = GPT(16, context=32, width=32, layers=8, heads=2, dropout=0.1)
    for plugin in plugins:
        plugin.model(net)
    tokens = torch.randint(16, (8, 32))
    with Live() as live:
        net(tokens).square().mean().backward()
    for plugin in plugins:
        plugin.close()
    return live.peak


def test_less_memory_is_alive() -> None:
    grads = 4 * sum(param.numel() for param in GPT(16, context=32, width=32, layers=8, heads=2).parameters())
    everything, half, none = peak() - grads, peak(Recompute(every=2)) - grads, peak(Recompute()) - grads
    assert none < 0.35 * everything, f"one block of eight at a time: {none} of {everything} bytes"
    assert none < half < 0.75 * everything


def saved(*plugins: Recompute) -> int:
    """The bytes that autograd keeps outside of recomputed blocks."""
    net = GPT(16, context=32, width=32, layers=8, heads=2, dropout=0.1)
    for plugin in plugins:
        plugin.model(net)
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.randint(16, (8, 32)))
    return kept


def test_autograd_keeps_nothing_of_a_block() -> None:
    assert saved(Recompute()) < 0.07 * saved(), "what the embedding and the last layer need"


def test_the_model_is_the_users_own_during_the_run_and_after_it() -> None:
    net = gpt()
    names = list(net.state_dict())
    plugin = Recompute()
    assert plugin.model(net) is net
    assert list(net.state_dict()) == names
    plugin.close()
    assert not any("forward" in vars(module) for module in net.modules())

    own = net.blocks[0].forward
    net.blocks[0].forward = own  # type: ignore[method-assign]
    plugin.model(net)
    plugin.close()
    assert vars(net.blocks[0])["forward"] is own, "an attribute that the user set stays"


def test_a_run_is_resumed(tmp_path: Any) -> None:
    whole = fit(Wide, Recompute())
    Fit(Wide, plugins=[Recompute()], watch=(), epochs=1, out=tmp_path / "run").fit()
    assert same(whole, fit(Wide, Recompute(), resume=tmp_path / "run"))


def test_a_block_that_changes_its_own_state_is_refused() -> None:
    class Power(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.linear(x)
            return out

    with pytest.raises(ConfigError, match=r"^recompute: Power changes its linear\.parametrizations\.weight\.0\._"):
        fit(lambda: nn.Sequential(Power(), Power()), Recompute())


def test_a_model_without_blocks_warns() -> None:
    with pytest.warns(AccelWarning, match=r"recompute has no effect: no kind of block comes twice"):
        fit_toy([Recompute()])
