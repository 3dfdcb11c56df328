"""Lightning's Trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from promises.task import WINDOW, Recorder, batches, model, pairs, per_update, wide

PACKAGE = "lightning"

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)


class Module(lightning.LightningModule):
    """A net, its loss, and a way to make its optimiser, with a learning rate that halves at every step of the schedule."""

    def __init__(self, net: nn.Module, loss: Callable[..., Tensor], optim: Callable[[Any], torch.optim.Optimizer]) -> None:
        super().__init__()
        self.net, self.objective, self.optim = net, loss, optim

    def training_step(self, batch: Any, index: int) -> Tensor:
        return self.objective(self.net, batch)

    def configure_optimizers(self) -> Any:
        self.made = self.optim(self.net.parameters())
        return {"optimizer": self.made, "lr_scheduler": {"scheduler": StepLR(self.made, 1, 0.5), "interval": "step"}}


class Average(WeightAveraging):
    """Lightning's average, which counts how often it moves."""

    moves = 0

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        before = int(self._average_model.n_averaged)
        super().on_train_batch_end(*args, **kwargs)
        self.moves += int(self._average_model.n_averaged) - before


def mean(net: nn.Module, batch: Any) -> Tensor:
    return net(batch[0].float()).mean()


def infinite(net: nn.Module, batch: Any) -> Tensor:
    return mean(net, batch) * torch.inf


def classify(net: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(net(batch[0]), batch[1])


def train(module: Module, data: Any, **settings: Any) -> Module:
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, **settings,
    )  # fmt: skip
    trainer.fit(module, data)
    return module


def ones(count: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.cat(batches(count))), batch_size=1)


def labelled(count: int) -> DataLoader[Any]:
    x, y = (torch.cat(values) for values in zip(*pairs(count), strict=True))
    return DataLoader(TensorDataset(x, y), batch_size=16)


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=1.0)


def windows() -> list[float]:
    return train(Module(model(), mean, Recorder), ones(6), accumulate_grad_batches=WINDOW).made.seen


def skipped(optim: Callable[[Any], Any], callbacks: Sequence[Any] = ()) -> Module:
    amp = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    return train(Module(model(), infinite, optim), ones(4), plugins=[amp], callbacks=list(callbacks))


def skipped_average() -> int:
    average = Average()
    skipped(sgd, [average])
    return average.moves


def skipped_rate() -> list[float]:
    makers = [lambda params, fused=fused: torch.optim.AdamW(params, lr=1.0, fused=fused) for fused in (False, True)]
    return [skipped(make).made.param_groups[0]["lr"] for make in makers]


def ticks() -> list[int]:
    average = Average()
    made = train(Module(model(), mean, sgd), ones(8), accumulate_grad_batches=WINDOW, callbacks=[average]).made
    return [average.moves, {0.5**n: n for n in range(20)}[made.param_groups[0]["lr"]]]


def adamw(params: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, fused=True)


def fused_clip() -> str:
    train(Module(wide(), classify, adamw), labelled(2), precision="bf16-mixed", gradient_clip_val=1.0)
    return "trains"


class Shrink(lightning.Callback):
    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        for param in module.parameters():
            param.grad.mul_(0.5)


class Limit(lightning.Callback):
    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        nn.utils.clip_grad_norm_(module.parameters(), 0.1)


def order() -> int:
    ends = set()
    for kinds in permutations([Shrink, Limit]):
        net = train(Module(wide(), classify, sgd), labelled(4), callbacks=[kind() for kind in kinds]).net
        ends.add(tuple(float(param.sum()) for param in net.parameters()))
    return len(ends)


def reads() -> float:
    # it refuses to clip in front of a fused optimiser, and torch's AdamW reads its step counters where it is not fused
    return per_update(lambda updates: train(Module(wide(), classify, sgd), labelled(updates), gradient_clip_val=1.0))


def reads_fp16() -> float:
    def run(updates: int) -> None:
        amp = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
        train(Module(wide(), classify, sgd), labelled(updates), plugins=[amp], gradient_clip_val=1.0)

    return per_update(run)
