"""The BatchNorms of a model that keep running statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

__all__ = ["batch_norms", "keeps_statistics", "with_buffers"]


def keeps_statistics(module: nn.Module) -> bool:
    """Return whether a module is a norm that moves running statistics in training, and uses them in evaluation."""
    return isinstance(module, _NormBase) and module.track_running_stats and module.running_mean is not None


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the BatchNorms of a model that keep running statistics, by name."""
    modules = model.named_modules()
    return {name: module for name, module in modules if isinstance(module, _BatchNorm) and keeps_statistics(module)}


@contextmanager
def with_buffers(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Give buffers of a model other values, by name, in the block; afterwards their own, bit for bit."""
    buffers = dict(model.named_buffers())
    saved = {name: buffers[name].clone() for name in values}
    try:
        for name, value in values.items():
            buffers[name].copy_(value)
        yield
    finally:
        for name, value in saved.items():
            buffers[name].copy_(value)
