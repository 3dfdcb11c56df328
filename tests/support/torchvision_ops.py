"""torchvision, also where the one from the package index was built for CUDA and torch was not: without its compiled operators."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

KEPT: list[Any] = []
"""What must outlive the import."""


def import_torchvision() -> Any:
    """Return torchvision, or skip the module of tests that asks for it. Where operators are missing, those in Python stand in."""
    try:
        torchvision: Any = pytest.importorskip("torchvision")
    except RuntimeError as error:  # of an older one, which looks for the operators as it is imported
        if "torchvision::nms" not in str(error):
            raise
        define_operators()
        import torchvision
    from torchvision import extension

    if not extension._has_ops():
        define_operators()
        boxes, roi_align = (sys.modules[f"torchvision.ops.{name}"] for name in ("boxes", "roi_align"))
        vars(boxes)["_assert_has_ops"] = lambda: None
        plain = getattr(roi_align._roi_align, "__wrapped__", roi_align._roi_align)
        vars(roi_align)["_roi_align"] = plain  # as it is written: compiling it takes a minute
    return torchvision


def define_operators() -> None:
    """Define what detectors call, unless somebody has."""
    if hasattr(torch.ops.torchvision, "nms"):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", plain_nms, "CPU")
    KEPT.append(library)


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
