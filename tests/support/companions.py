"""The plugins beside which one with other than its default settings is run."""

from __future__ import annotations

from tests.support.drill_length import LONG

COMPANIONS = None if LONG else (
    "accumulate", "adamw", "amp", "average", "clip", "ema", "finite_guard", "master_weights", "oom", "step_in_backward",
)  # fmt: skip
"""Those that act on gradients and weights within an update; in the long drills all that come with accel (None)."""
