"""accel, silent, and with the watches that are on by default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from work import ACCUMULATE, CLIP, DECAY, LR, Work

from accel import Trainer
from accel.plugins import AMP, EMA, Accumulate, AdamW, Clip, OneCycle


def loss(model: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    return cross_entropy(model(x), y)


def silent(work: Work) -> list[Tensor]:
    return train(work, watch=(), out=None)


def watched(work: Work) -> list[Tensor]:
    with TemporaryDirectory() as folder:
        return train(work, watch=("progress", "metrics"), out=Path(folder) / "run")


def train(work: Work, watch: Sequence[str], out: Path | None) -> list[Tensor]:
    plugins = {
        # SGD with momentum is what runs where no plugin says otherwise
        "optim": [] if work.optim == "sgd" else [AdamW(lr=LR)],
        "on": [Accumulate(ACCUMULATE), Clip(max_norm=CLIP), OneCycle(max_lr=LR), AMP(), EMA(decay=DECAY, warmup=False)],
    }
    chosen = plugins["optim"] + (plugins["on"] if work.on else [])
    result = Trainer(work.model, work.batches, loss=loss, plugins=chosen, watch=watch, out=out, device="cpu").fit()
    return list(result.model.parameters())
