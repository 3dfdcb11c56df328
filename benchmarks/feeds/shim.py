"""Lets torchvision be imported that was built for CUDA, where torch was not."""

from __future__ import annotations

import torch

KEPT = []


def torchvision() -> None:
    """Declares the operators that its registrations name, where its library could not."""
    if torch.version.cuda is None and not KEPT:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        KEPT.append(library)
