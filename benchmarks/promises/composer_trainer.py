"""MosaicML Composer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import composer.algorithms.ema.ema as ema
import composer.trainer.trainer as trainer
import torch
from composer import Trainer
from composer.algorithms import EMA, GradientClipping, LabelSmoothing, MixUp
from composer.models import ComposerClassifier, ComposerModel
from composer.trainer._scaler import ClosureGradScaler
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from promises.task import WINDOW, Lacking, Recorder, batches, model, pairs, per_update, wide

PACKAGE = "mosaicml"


class Mean(ComposerModel):
    factor = 1.0

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Any) -> Tensor:
        return self.net(batch[0])

    def loss(self, outputs: Tensor, batch: Any) -> Tensor:
        return outputs.mean() * self.factor


class Infinite(Mean):
    factor = torch.inf


def ones(count: int, batch_size: int = 1) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.cat(batches(count))), batch_size=batch_size)


def run(net: ComposerModel, data: Any, optimizer: Any, algorithms: Sequence[Any] = (), **settings: Any) -> Trainer:
    return Trainer(
        model=net, optimizers=optimizer, train_dataloader=data, max_duration="1ep", algorithms=list(algorithms), device="cpu",
        progress_bar=False, log_to_console=False, schedulers=[StepLR(optimizer, 1, 0.5)], step_schedulers_every_batch=True,
        **settings,
    )  # fmt: skip


class Count:
    """Counts the calls of Composer's average."""

    def __enter__(self) -> Count:
        self.moves, self.inner = 0, ema.compute_ema

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.moves += 1
            return self.inner(*args, **kwargs)

        ema.compute_ema = counted
        return self

    def __exit__(self, *args: Any) -> None:
        ema.compute_ema = self.inner


def windows() -> list[float]:
    """It splits a batch into micro-batches: of 6 samples in micro-batches of 4 the last is short. Two batches."""
    net = Mean(model())
    recorder = Recorder(net.parameters())
    run(net, ones(12, 6), recorder, device_train_microbatch_size=WINDOW).fit()
    return recorder.seen


def skipped(optim: Callable[[Any], Any]) -> tuple[int, float]:
    net = Infinite(model())
    optimizer = optim(net.parameters())
    kept = trainer.Trainer._use_grad_scaling
    trainer.Trainer._use_grad_scaling = lambda *args, **kwargs: True
    try:
        with Count() as count:
            made = run(net, ones(4), optimizer, [EMA(half_life="10ba")])
            made.state.scaler = ClosureGradScaler("cpu")
            made.fit()
    finally:
        trainer.Trainer._use_grad_scaling = kept
    return count.moves, optimizer.param_groups[0]["lr"]


def skipped_average() -> int:
    return skipped(lambda params: torch.optim.SGD(params, lr=1.0))[0]


def skipped_rate() -> list[float]:
    return [skipped(lambda params, fused=fused: torch.optim.AdamW(params, lr=1.0, fused=fused))[1] for fused in (False, True)]


def ticks() -> list[int]:
    net = Mean(model())
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    with Count() as count:
        run(net, ones(8, 4), optimizer, [EMA(half_life="10ba")], device_train_microbatch_size=1).fit()
    return [count.moves, {0.5**n: n for n in range(20)}[optimizer.param_groups[0]["lr"]]]


def fused_clip() -> str:
    raise Lacking("refuses bf16 on a CPU")


def labelled(count: int) -> DataLoader[Any]:
    x, y = (torch.cat(values) for values in zip(*pairs(count), strict=True))
    return DataLoader(TensorDataset(x, y), batch_size=16)


def order() -> int:
    ends = set()
    kinds: list[Callable[[], Any]] = [lambda: MixUp(0.2), lambda: LabelSmoothing(0.1), lambda: GradientClipping("norm", 1.0)]
    for makes in permutations(kinds):
        net = ComposerClassifier(wide(), num_classes=4)
        optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
        run(net, labelled(4), optimizer, [make() for make in makes], seed=1).fit()
        ends.add(tuple(float(param.sum()) for param in net.parameters()))
    return len(ends)


def reads() -> float:
    def fit(updates: int) -> None:
        net = ComposerClassifier(wide(), num_classes=4, train_metrics={}, val_metrics={})
        optimizer = torch.optim.AdamW(net.parameters(), fused=True)
        run(net, labelled(updates), optimizer, [GradientClipping("norm", 1.0)]).fit()

    return per_update(fit)


def reads_fp16() -> float:
    raise Lacking("refuses fp16 on a CPU")
