"""Whatever a batch is, windows and evaluation weigh it by its samples, or say that they guess."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.errors import AccelWarning
from accel.plugins import SGD, Accumulate

X, Y = torch.randn(10, 3, 4, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 3


@dataclasses.dataclass
class Batch:
    x: Tensor
    y: Tensor


class Opaque:
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.read = lambda: (x, y)


KINDS: dict[str, Any] = {
    "pair": (lambda x, y: (x, y), lambda b: b),
    "dataclass": (Batch, lambda b: (b.x, b.y)),
    "detection": (
        lambda x, y: (tuple(x), tuple({"labels": t} for t in y)),
        lambda b: (torch.stack(b[0]), torch.stack([t["labels"] for t in b[1]])),
    ),
    "samples": (
        lambda x, y: [{"x": a, "y": b} for a, b in zip(x, y, strict=True)],
        lambda b: (torch.stack([s["x"] for s in b]), torch.stack([s["y"] for s in b])),
    ),
    "time first": (lambda x, y: (x.transpose(0, 1), y), lambda b: (b[0].transpose(0, 1), b[1])),
    "opaque": (Opaque, lambda b: b.read()),
}
GUESSED = ("time first", "opaque")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))


def trainer(kind: str, sizes: tuple[int, ...] = (4, 4, 2), steps: int = 4, **settings: Any) -> Trainer:
    make, take = KINDS[kind]
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    data = [make(X[start : start + size], Y[start : start + size]) for start, size in zip(starts, sizes, strict=True)]

    def loss(model: nn.Module, batch: Any) -> Tensor:
        x, y = take(batch)
        return F.cross_entropy(model(x), y)

    plugins = [SGD(lr=0.1, momentum=0.0), *[Accumulate(steps)][: steps > 1]]
    return Trainer(net(), data, loss=loss, plugins=plugins, watch=(), **{"val": data} | settings)  # type: ignore[arg-type]


def big_batch() -> tuple[Tensor, float]:
    model = net()
    loss = F.cross_entropy(model(X), Y)
    loss.backward()
    with torch.no_grad():
        for param in model.parameters():
            param -= 0.1 * param.grad
        return model[1].weight.detach(), F.cross_entropy(model(X), Y).item()  # type: ignore[index, return-value]


@pytest.mark.parametrize("kind", KINDS)
def test_accumulation_and_evaluation_are_those_of_the_big_batch(kind: str) -> None:
    if kind in GUESSED:
        with pytest.warns(AccelWarning, match=r"batches are weighed by their samples, and .* are counted") as record:
            trainer(kind).fit()
        assert len(record) == 1
        assert record[0].filename == __file__
    settings = {"count_samples": lambda batch: len(KINDS[kind][1](batch)[1])} if kind in GUESSED else {}
    result = trainer(kind, **settings).fit()
    weight, loss = big_batch()
    assert result.samples == 10
    assert torch.allclose(result.model[1].weight, weight, atol=1e-7)
    assert result.metrics["loss"] == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("kind", GUESSED)
def test_a_method_says_it_too(kind: str) -> None:
    class Mine(Trainer):
        def count_samples(self, batch: Any) -> int:
            return len(KINDS[kind][1](batch)[1])

    given = trainer(kind)
    mine = Mine(**given.given | {"count_samples": None}, plugins=given.plugins, watch=())
    assert torch.allclose(mine.fit().model[1].weight, big_batch()[0], atol=1e-7)


def test_nothing_is_said_where_it_does_not_matter() -> None:
    trainer("time first", (4, 4), val=None).fit()  # equal batches weigh equally
    trainer("time first", (4, 4)).fit()
    trainer("time first", (4, 4, 2), steps=1, val=None).fit()
    trainer("opaque", steps=1, val=None).fit()
    counted = trainer("time first")
    loss = counted.given["loss"]
    counted.given |= {"loss": lambda model, batch: (loss(model, batch), len(batch[1]))}
    assert torch.allclose(counted.fit().model[1].weight, big_batch()[0], atol=1e-7)


def test_an_evaluation_says_it_by_itself() -> None:
    with pytest.warns(AccelWarning, match="have leading dimensions of 3, 4; 3 are counted"):
        trainer("time first", steps=1).fit()
