"""Ways of doing the same, compared: who takes which turn, how much faster one is, and what to make of it."""

from accel.compare.bootstrap import LEVEL, Bounds, studentized_bounds, trimmed_mean
from accel.compare.interleave import Limits, interleave, take_turns
from accel.compare.loss_difference import MIN_SEEDS, LossDifference, loss_difference, rank_probability
from accel.compare.speed_ratio import SpeedRatio, speed_ratio
from accel.compare.verdict import NEGLIGIBLE, Verdict, decide
from accel.compare.window_plan import Side, turn_order, window_plan

__all__ = [
    "LEVEL", "MIN_SEEDS", "NEGLIGIBLE", "Bounds", "Limits", "LossDifference", "Side", "SpeedRatio", "Verdict", "decide",
    "interleave", "loss_difference", "rank_probability", "speed_ratio", "studentized_bounds", "take_turns", "trimmed_mean",
    "turn_order", "window_plan",
]  # fmt: skip
