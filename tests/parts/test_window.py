"""Micro-batches in windows: each knows its share of the window, and whether it is the last."""

from __future__ import annotations

import pytest
import torch

from accel.parts.window import Group


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (1, [[(4, 1.0, True)], [(4, 1.0, True)], [(2, 1.0, True)]]),
        (2, [[(4, 0.5, False), (4, 0.5, True)], [(2, 1.0, True)]]),
        (3, [[(4, 0.4, False), (4, 0.4, False), (2, 0.2, True)]]),
    ],
)
def test_windows(size: int, wanted: list[list[tuple[int, float, bool]]]) -> None:
    group = Group()
    group.resize(size)
    windows = list(group.windows(iter([torch.zeros(samples, 3) for samples in (4, 4, 2)])))
    assert [[(micro.samples, micro.weight, micro.last) for micro in window.micros] for window in windows] == wanted
    assert [window.batches for window in windows] == [len(micros) for micros in wanted]
    assert [window.samples for window in windows] == [sum(micro[0] for micro in micros) for micros in wanted]
