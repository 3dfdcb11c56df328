"""torchvision, also where the one from the package index was built for CUDA and torch was not: without its compiled operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

KEPT: list[Any] = []
"""What must outlive the import."""


def import_torchvision() -> Any:
    """Return torchvision, or skip the module of tests that asks for it."""
    try:
        return pytest.importorskip("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", plain_nms, "CPU")
    KEPT.append(library)
    import torchvision
    from torchvision.ops import boxes

    boxes._assert_has_ops = lambda: None
    return torchvision


def plain_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the boxes that are kept, the best first: int64, (kept,)."""
    order, kept = scores.argsort(descending=True), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = boxes[rest, :2].maximum(boxes[best, :2]), boxes[rest, 2:].minimum(boxes[best, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        order = rest[shared / (areas[rest] + areas[best] - shared) <= iou_threshold]
    return torch.stack(kept) if kept else order
