"""Lets torchvision be imported whose library was built for CUDA, where torch was not: venv.sh installs it in such an environment.

The import asks for operators which that library would bring. They are declared before it, and `nms` computes on the CPU.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

KEPT: list[Any] = []
"""What must outlive the import."""


class Declaring(MetaPathFinder):
    """Finds nothing: it declares the operators as torchvision is about to be imported, and lets its operators be called."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Return None, after what the module of that name needs."""
        if name == "torchvision" and not KEPT:  # once: others look whether it is installed before they import it
            declare()
        elif name == "torchvision.ops":
            sys.meta_path.remove(self)
            sys.modules["torchvision.extension"]._assert_has_ops = lambda: None  # type: ignore[attr-defined]


def declare() -> None:
    """Declare the operators that torchvision names as it is imported."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", plain_nms, "CPU")
    KEPT.append(library)


def plain_nms(boxes: Any, scores: Any, iou_threshold: float) -> Any:
    """Return the indices of the boxes that are kept, the best first: (kept,) int64."""
    import torch

    order, kept = scores.argsort(descending=True), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = boxes[rest, :2].maximum(boxes[best, :2]), boxes[rest, 2:].minimum(boxes[best, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        order = rest[shared / (areas[rest] + areas[best] - shared) <= iou_threshold]
    return torch.stack(kept) if kept else order


sys.meta_path.insert(0, Declaring())
