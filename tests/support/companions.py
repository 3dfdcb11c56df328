"""The plugins beside which one with other than its default settings is run."""

from __future__ import annotations

from tests.support.drill_length import LONG

COMPANIONS = None if LONG else (
    "accumulate", "adamw", "amp", "augment", "average", "clip", "compile", "cuda_graph", "ddp", "ema", "finite_guard", "lamb",
    "master_weights", "muon", "onecycle", "oom", "recompute", "schedule_free", "sgd", "step_in_backward", "threads",
)  # fmt: skip
"""Those that act within an update, and a loader; in the long drills all that come with accel (None)."""
