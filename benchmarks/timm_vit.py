"""A small vision transformer of timm, with random weights. timm needs torchvision."""

from __future__ import annotations

import torch
from feeds.shim import torchvision as shimmed
from torch import Tensor, nn

SIDE = 64


class TinyViT(nn.Module):
    """`vit_tiny_patch16_224` for pictures of 64 pixels in patches of 8: (batch, 3, 64, 64) to (batch, classes)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        shimmed()
        import timm

        self.vit = timm.create_model("vit_tiny_patch16_224", img_size=SIDE, patch_size=8, num_classes=num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.vit(pictures)
        return scores


def missing() -> str:
    """Why there is none here, or nothing."""
    shimmed()
    try:
        import timm  # noqa: F401
    except ImportError as error:
        return f"timm cannot be imported ({error})"
    finally:
        torch.set_num_threads(torch.get_num_threads())
    return ""
