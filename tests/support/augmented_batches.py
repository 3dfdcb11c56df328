"""Batches that are augmented, with and without a run around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.parts import Parts, Run
from accel.plugins.augment import Augment

ALL: dict[str, Any] = {"mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "resize_from": 0.5, "num_classes": 3}
"""Everything on."""
PICTURES = torch.randint(0, 256, (5, 16, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1])


def ready(**settings: Any) -> Augment:
    """The plugin set up for a run of 10 epochs of 20 batches."""
    plugin = Augment(**{"num_classes": 3, **settings})
    run = Run(Parts(), nn.Linear(1, 1), lambda model, batch: batch, torch.device("cpu"), 0, 10, 4, batches=20)
    plugin.setup(run)
    return plugin


class Recorder(Trainer):
    """Trains on pictures (17, 3, 16, 12) and remembers what its loss is given in training."""

    num_classes = 3

    def __init__(self, layout: str = "NCHW", **run: Any) -> None:
        super().__init__(**{"watch": (), "epochs": 3, "batch_size": 4, "device": "cpu", **run})
        self.layout, self.seen = layout, list[Any]()

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def data(self, split: str) -> TensorDataset:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randn(17, 3, 16, 12, generator=generator)
        return TensorDataset(
            pictures.permute(0, 2, 3, 1) if self.layout == "NHWC" else pictures, torch.randint(0, 3, (17,), generator=generator)
        )

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        if model.training:
            self.seen.append([member.clone() for member in batch])
        pictures = batch[0].permute(0, 3, 1, 2) if self.layout == "NHWC" else batch[0]
        return F.cross_entropy(model(pictures), batch[1])
