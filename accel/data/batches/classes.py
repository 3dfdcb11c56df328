"""How many classes there are."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any


def count_classes(owner: Any) -> int | None:
    """What a task or a data set says: its `num_classes`, or how many `classes` it lists, as torchvision's sets do.

    A loader or a subset is asked for the `dataset` that it reads. None where nothing tells.
    """
    for _ in range(8):  # no further down than anyone nests, and not round and round
        told = getattr(owner, "num_classes", None)
        if type(told) is int and told > 0:
            return told
        listed = getattr(owner, "classes", None)
        if isinstance(listed, Sized) and not isinstance(listed, str) and len(listed):
            return len(listed)
        owner = getattr(owner, "dataset", None)
    return None
