"""What a training loop must keep, each run against a peer in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Promise(NamedTuple):
    """One of them."""

    title: str
    unit: str
    """What the observed value is."""
    kept: Callable[[Any], bool]
    """Whether the observed value keeps it."""


PROMISES = {
    "windows": Promise(
        "a short last window weighs right", "gradients of the updates of 6 equal micro-batches in windows of 4; right: 1, 1",
        lambda seen: seen == [1.0, 1.0],
    ),
    "skipped_average": Promise(
        "a skipped update leaves the average alone", "moves of the average in 4 overflowed updates", lambda moves: moves == 0
    ),
    "skipped_rate": Promise(
        "one rule for the learning rate where updates are skipped", "the rate after 4 overflowed updates, not fused and fused",
        lambda rates: rates[0] == rates[1],
    ),
    "ticks": Promise(
        "average and schedule move once per update", "moves of each in 8 micro-batches in windows of 4; right: 2, 2",
        lambda moves: all(move in (2, "no average") for move in moves),
    ),
    "fused_clip": Promise(
        "a fused optimiser can be clipped in front of", "whether it trains, in bfloat16 where that runs on a CPU",
        lambda said: said == "trains",
    ),
    "order": Promise(
        "no order of plugins changes the result",
        "different ends over all orders (Lightning: of two callbacks that change gradients; Composer: of MixUp, LabelSmoothing and "
        "GradientClipping)",
        lambda ends: ends == 1,
    ),
    "reads": Promise(
        "an update reads nothing on the host", "reads per update, with clipping and a schedule", lambda count: count == 0
    ),
    "reads_fp16": Promise("nor with float16 and a loss scale", "reads per update", lambda count: count == 0),
}  # fmt: skip

PEERS = {
    "accel": ("accel", "ours"),
    "Accelerate": ("accelerate", "accelerate_loop"),
    "Lightning": ("lightning", "lightning_trainer"),
    "Composer": ("composer", "composer_trainer"),
    "mmengine": ("mmengine", "mmengine_runner"),
    "ignite": ("ignite", "ignite_engine"),
}
"""By name: the package that each needs, and the module here that drives it."""
