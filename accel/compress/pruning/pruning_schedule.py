"""Schedule of pruning: the updates after which something goes, and how much is gone then."""

from __future__ import annotations

from accel.errors import ConfigError

__all__ = ["cubic", "find_pruning_updates", "resolve_update"]


def cubic(step: float, begin: float, end: float, final: float) -> float:
    """Return the share that is gone after update `step`: fast at first, and slower the less is left.

    s = final * (1 - (1 - (step - begin) / (end - begin))^3), 0 before `begin` and `final` from `end` on.

    Source: Zhu and Gupta, To prune, or not to prune, arXiv 1710.01878, equation 1, with an initial sparsity of 0.
    """
    if step >= end:
        return final
    if step <= begin:
        return 0.0
    return final * (1 - (1 - (step - begin) / (end - begin)) ** 3)


def resolve_update(setting: str, value: float, updates: int | None) -> int:
    """Return the number of an update, given as such from 1 on, or below 1 as a share of the run.

    Raises:
        ConfigError: for a share of a run of unknown length, and for an update that the run does not make.
    """
    if 0 < value < 1:
        if updates is None:
            raise ConfigError(f"{setting}={value:g} is a share of the run, and its length is unknown; give a number of updates")
        return round(value * updates)
    if updates is not None and value >= updates > 0:
        raise ConfigError(
            f"{setting}={value:g} is not within the run of {updates:,} updates; set a smaller one, or a share of the run"
        )
    return round(value)


def find_pruning_updates(begin: int, end: int, steps: int, final: float) -> dict[int, float]:
    """Return the updates after which something goes, each with the share that is gone from then on.

    They are evenly spaced from `begin` (without it) to `end`; a single one is `end` itself.

    Raises:
        ConfigError: if there are not as many updates.
    """
    if begin > end or (steps > 1 and end - begin < steps):
        raise ConfigError(
            f"prune.steps={steps:,} has no room between the updates {begin:,} (prune.begin) and {end:,} (prune.end); set fewer "
            "steps, or a later prune.end"
        )
    points = {begin + round((end - begin) * number / steps): number for number in range(1, steps + 1)}
    return {update: cubic(number, 0, steps, final) for update, number in points.items()}
