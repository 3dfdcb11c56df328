"""What a change brings: keep it, leave it, or take it away."""

from __future__ import annotations

from typing import Literal

from accel.compare.loss_difference import LossDifference
from accel.compare.speed_ratio import SpeedRatio

__all__ = ["NEGLIGIBLE", "Verdict", "decide"]

Verdict = Literal["keep", "neutral", "harmful"]
NEGLIGIBLE = 0.01
"""Share of the speed that no change is worth, and by which two equal runs of one process differ: where their memory lies, say."""


def decide(speed: SpeedRatio | None, loss: LossDifference | None = None, negligible: float = NEGLIGIBLE) -> Verdict:
    """Return the verdict on a change.

    A change that reaches a higher loss beyond the noise is harmful, whatever its speed. Else the speed decides, if it is given:
    the bounds must lie beyond `negligible`. Without a speed the loss decides alone, as after equal time.

    Args:
        speed: how many times faster the run is with the change; None if the loss was taken after equal time.
        loss: the loss with the change less that without it; None if it was not measured.
        negligible: share of the speed by which the two may differ and are alike.

    >>> decide(SpeedRatio(1.2, 1.1, 1.3, 20)), decide(SpeedRatio(1.2, 0.9, 1.5, 20)), decide(SpeedRatio(0.8, 0.7, 0.9, 20))
    ('keep', 'neutral', 'harmful')
    """
    if loss is not None and loss.is_worse:
        return "harmful"
    if speed is None:
        return "keep" if loss is not None and loss.is_better else "neutral"
    if speed.low > 1 + negligible:
        return "keep"
    return "harmful" if speed.high < 1 / (1 + negligible) else "neutral"
