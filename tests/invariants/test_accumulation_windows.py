"""Accumulation weighs every item of a window alike, however the micro-batches fall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from accel import Trainer
from accel.parts import Grads, Optim, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.sgd import SGD


@dataclass(eq=False)
class Still(SGD):
    """An optimiser that remembers the true gradients and moves nothing."""

    def step(self, grads: Grads) -> None:
        if not hasattr(self, "seen"):
            self.seen: list[list[Tensor]] = []
        self.seen.append([tensor.clone() for tensor in grads.materialise()])


def line() -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    return model


def gradients(batches: list[Any], steps: int, loss: Any, model: nn.Module | None = None) -> list[float]:
    still = Still()
    plugins = [still, Accumulate(steps=steps)] if steps > 1 else [still]
    ready = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    Trainer(model or line(), ready, loss=loss, plugins=plugins, watch=()).fit()
    return [float(seen[0].sum()) for seen in still.seen]


def test_a_short_last_window_weighs_right() -> None:
    # six identical micro-batches in windows of four: Lightning and Accelerate give 1.0, 0.5; ignite drops the last two
    batches = [torch.ones(1, 1)] * 6
    assert gradients(batches, 4, lambda model, x: model(x).mean()) == [1.0, 1.0]


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 11])
def test_every_length_and_window(count: int, steps: int) -> None:
    actual = gradients([torch.ones(2, 1)] * count, steps, lambda model, x: model(x).mean())
    assert actual == pytest.approx([1.0] * -(-count // steps))


def test_uneven_micro_batches_are_the_big_batch() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(n, 1) for n in (5, 1, 3, 2, 7)]
    loss = lambda model, x: model(x).square().mean()  # noqa: E731
    assert gradients(parts, 5, loss) == pytest.approx(gradients([torch.cat(parts)], 1, loss), rel=1e-6)


@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_token_weighted_micro_batches_are_the_big_batch(kind: Any) -> None:
    torch.manual_seed(0)
    parts = [(torch.randn(4, 6, 1), torch.randint(0, 2, (4, 6)).bool()) for _ in range(5)]

    def loss(model: nn.Module, batch: Any) -> Any:
        x, real = batch
        count = real.sum()
        return (model(x).squeeze(-1).square() * real).sum() / count, kind(int(count))

    whole = [(torch.cat([x for x, _ in parts]), torch.cat([real for _, real in parts]))]
    assert gradients(parts, 5, loss) == pytest.approx(gradients(whole, 1, loss), rel=1e-6)
    # and in short windows: 3 + 2
    ends = gradients(parts, 3, loss)
    tail = [(torch.cat([x for x, _ in parts[3:]]), torch.cat([real for _, real in parts[3:]]))]
    assert ends[1] == pytest.approx(gradients(tail, 1, loss)[0], rel=1e-6)


def test_a_micro_batch_without_tokens_weighs_nothing() -> None:
    parts = [(torch.ones(2, 1), 0), (torch.full((2, 1), 3.0), 4)]
    actual = gradients(parts, 2, lambda model, batch: (model(batch[0]).mean(), batch[1]))
    assert actual == pytest.approx([3.0])


def test_the_mean_loss_of_a_micro_batch_without_tokens_is_nan_and_does_not_count() -> None:
    losses = Losses()
    batches = [torch.tensor([1, -100]), torch.tensor([-100, -100]), torch.tensor([-100, 0])]

    def loss(model: nn.Module, y: Tensor) -> Any:
        return nn.functional.cross_entropy(model(torch.ones(2, 4)), y), (y != -100).sum()

    plugins = [Accumulate(steps=3), losses]
    model = nn.Linear(4, 2)
    expected = [float(loss(model, y)[0].detach()) for y in batches]
    ready = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    Trainer(model, ready, loss=loss, plugins=plugins, watch=()).fit()
    assert losses.seen == pytest.approx([(expected[0] + expected[2]) / 2])


@dataclass(eq=False)
class Losses(Watch):
    def begin(self, run: Run) -> None:
        self.seen: list[float] = []

    def after(self, step: int, loss: Tensor) -> None:
        self.seen.append(loss.item())


def test_the_reported_loss_is_the_mean_over_the_window() -> None:
    losses = Losses()
    batches = [torch.full((1, 1), 1.0), torch.full((3, 1), 5.0), torch.full((2, 1), 2.0)]
    Trainer(line(), batches, loss=lambda model, x: model(x).mean(), plugins=[Still(), Accumulate(steps=2), losses], watch=()).fit()
    assert losses.seen == pytest.approx([(1 + 3 * 5) / 4, 2.0])


@pytest.mark.parametrize("optim", [SGD, AdamW])
@pytest.mark.parametrize("tokens", [False, True])
def test_accumulated_training_follows_the_big_batch(optim: type[Optim], tokens: bool) -> None:
    def train(batches: list[Tensor], steps: int) -> Tensor:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))

        def loss(model: nn.Module, x: Tensor) -> Any:
            value = (model(x).squeeze(-1) - x.sum(-1)).square().mean()
            return (value, len(x)) if tokens else value

        plugins = [optim(), Accumulate(steps=steps)] if steps > 1 else [optim()]
        Trainer(model, batches, loss=loss, plugins=plugins, watch=(), epochs=3).fit()
        return torch.cat([param.detach().flatten() for param in model.parameters()])

    torch.manual_seed(0)
    sizes = [4, 4, 4, 1, 4, 3]
    small = [torch.randn(n, 5) for n in sizes]
    big = [torch.cat(small[:4]), torch.cat(small[4:])]
    assert torch.allclose(train(small, 4), train(big, 1), rtol=0, atol=2e-6 if optim is SGD else 1e-5)


def test_token_weights_leave_room_in_float16() -> None:
    # weighing by 10,000 tokens outright would multiply the scaled loss out of float16's range and skip every update
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    batches = [torch.randn(8, 4) for _ in range(4)]
    result = Trainer(
        model, batches, loss=lambda model, x: (model(x).float().square().mean(), 10_000), watch=(),
        plugins=[AMP(dtype="float16", force=True, init_scale=4096.0), Accumulate(steps=2)],
    ).fit()  # fmt: skip
    assert result.skipped == 0
