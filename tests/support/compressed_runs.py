"""Short runs on small pictures, and what the tests of plugins that change the modules of a model ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.parts import Part
from accel.report.result import Result

PICTURES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(9))
"""Pictures that no run has seen."""


class PictureTask(Trainer):
    """Small pictures, (N, 3, 8, 8) float32, of two kinds."""

    def data(self, split: str) -> TensorDataset:
        pictures = torch.randn(18, 3, 8, 8, generator=torch.Generator().manual_seed(len(split)))
        return TensorDataset(pictures, pictures.mean((1, 2, 3)).gt(0).long())

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


def fit(*plugins: Part, kind: type[Trainer], watch: Sequence[Part] = (), **settings: Any) -> Result:
    return kind(**{"plugins": plugins, "watch": watch, "epochs": 2, "batch_size": 4, "seed": 3, **settings}).fit()


def weights(result: Result) -> list[Tensor]:
    """The tensors of the model of a run, buffers among them."""
    return list(result.model.state_dict().values())


def names_of(model: nn.Module, kind: type[Any]) -> list[str]:
    """The names of the modules of one kind."""
    return [name for name, module in model.named_modules() if isinstance(module, kind)]


def equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Whether as many tensors agree to the last bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
