"""BatchNorms whose statistics stand still while the rest trains."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["freeze_norms", "thaw_norms"]


class FrozenNorm:
    """What these norms do, beside the class of torch whose place they take: they stay in evaluation mode."""

    def train(self, mode: bool = True) -> Any:
        """Stay in evaluation mode, whatever `mode` is, and return itself."""
        own: Any = self
        return nn.Module.train(own, False)


class FrozenBatchNorm1d(FrozenNorm, nn.BatchNorm1d):
    """`nn.BatchNorm1d` by its running statistics."""


class FrozenBatchNorm2d(FrozenNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` by its running statistics."""


class FrozenBatchNorm3d(FrozenNorm, nn.BatchNorm3d):
    """`nn.BatchNorm3d` by its running statistics."""


class FrozenSyncBatchNorm(FrozenNorm, nn.SyncBatchNorm):
    """`nn.SyncBatchNorm` by its running statistics."""


FROZEN: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: FrozenBatchNorm1d, nn.BatchNorm2d: FrozenBatchNorm2d, nn.BatchNorm3d: FrozenBatchNorm3d,
    nn.SyncBatchNorm: FrozenSyncBatchNorm,
}  # fmt: skip


def freeze_norms(model: nn.Module) -> int:
    """Let the BatchNorms of a model that keep statistics compute with these in training too; return how many there are.

    They stay the same objects, and their weights are trained on.
    """
    norms: list[Any] = [each for each in model.modules() if type(each) in FROZEN and each._buffers["running_mean"] is not None]
    for norm in norms:
        norm.__class__ = FROZEN[type(norm)]
        norm.eval()
    return len(norms)


def thaw_norms(model: nn.Module) -> None:
    """Let frozen norms be torch's own again, each in the mode of the model."""
    for module in model.modules():
        if isinstance(module, FrozenNorm):
            own: Any = module
            own.__class__ = next(plain for plain, kind in FROZEN.items() if isinstance(own, kind))
            own.train(model.training)
