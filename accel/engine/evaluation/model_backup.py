"""Copies of what a trial or an evaluation moves, and what it must not touch: weights, buffers, workers of a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.data import DataLoader

from accel.data.batches.base import Batches
from accel.errors import listed
from accel.system.call_stack import warn_user

__all__ = ["ModelBackup", "detached_workers", "unmoved_model"]


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
        self.put_back()
        self.model.zero_grad()

    def put_back(self) -> None:
        """Put all of them back."""
        for module, buffers in self.buffers:
            module._buffers.update(buffers)
        with torch.no_grad():
            for tensor, copy in self.copies.items():
                tensor.copy_(copy)


@contextmanager
def unmoved_model(model: nn.Module) -> Iterator[None]:
    """Put buffers back at the end, such as those of a BatchNorm in training mode or a queue; gradients are left as they are.

    Weights are not copied, which would take as much memory again. If one is written to, as by a loss that moves a second encoder,
    there is a warning.
    """
    backup = ModelBackup(model, buffers_only=True)
    versions = {name: (param, param._version) for name, param in model.named_parameters()}
    try:
        yield
    finally:
        backup.put_back()
    if moved := [name for name, (param, version) in versions.items() if param._version != version]:
        warn_user(
            f"an evaluation has written to {listed(moved, 2)}, and weights are not put back; let the loss, or metrics(model, "
            "batch), do so only if model.training"
        )
