"""The picture of an ablation has numbers on both sides of 1, however far the speeds lie from it."""

from __future__ import annotations

import pytest

from accel.compare import SpeedRatio
from accel.diagnose.ablation import ablation_plot
from accel.diagnose.ablation.contribution import Ablation, Contribution


@pytest.mark.parametrize(("low", "high"), [(0.93, 1.12), (0.76, 1.35), (0.9, 6.0), (0.5, 1.2)])
def test_the_axis_has_numbers_up_to_both_ends(low: float, high: float) -> None:
    speed = SpeedRatio((low * high) ** 0.5, low, high, 12)
    one = Contribution(("amp",), "speed", speed)
    figure = ablation_plot._figure(Ablation((one,)))
    figure.draw_without_rendering()
    (panel,) = figure.axes
    least, most = panel.get_xlim()
    shown = [tick for tick, text in zip(panel.get_xticks(), panel.get_xticklabels(), strict=True) if text.get_text()]
    shown = [tick for tick in shown if least <= tick <= most]
    assert len(shown) >= 3
    assert max(shown) > 1 + (most - 1) / 3
    assert min(shown) <= 1
