"""Copies of what a trial moves, and what it must not touch: weights, buffers, workers of a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.data import DataLoader

from accel.data.batches.base import Batches

__all__ = ["ModelBackup", "detached_workers"]


@contextmanager
def detached_workers(*batches: Batches) -> Iterator[None]:
    """Give DataLoaders with persistent workers other workers inside.

    If its own workers began here, they would draw other random numbers in the run.
    """
    loaders = [data for each in batches if isinstance(data := getattr(each, "data", None), DataLoader)]
    iterators = [loader._iterator for loader in loaders]
    try:
        for loader in loaders:
            loader._iterator = None
        yield
    finally:
        for loader, iterator in zip(loaders, iterators, strict=True):
            loader._iterator = iterator


class ModelBackup:
    """Copies of the weights and buffers of a model. A buffer that is assigned anew comes back as the tensor it was.

    Args:
        model: the model.
        buffers_only: keep no copies of the weights, which are left as they are.
    """

    def __init__(self, model: nn.Module, buffers_only: bool = False) -> None:
        self.model = model
        weights = [] if buffers_only else list(model.parameters())
        self.copies = {tensor: tensor.detach().clone() for tensor in [*weights, *model.buffers()]}
        self.buffers = [(module, dict(module._buffers)) for module in model.modules()]

    def restore(self) -> None:
        """Put all of them back, and free the gradients that are left."""
        for module, buffers in self.buffers:
            module._buffers.update(buffers)
        with torch.no_grad():
            for tensor, copy in self.copies.items():
                tensor.copy_(copy)
        self.model.zero_grad()
