"""Selection of the units that stay: so many of each group, or the best of all, and the channels in eights."""

from __future__ import annotations

from math import gcd
from typing import Literal

from torch import Tensor

from accel.compress.pruning.channel_groups import ChannelGroup
from accel.errors import ConfigError

__all__ = ["Scope", "check_ratio", "count_kept", "select_units", "unit_step"]

Scope = Literal["layer", "global"]
"""Whether units are compared within their group, or all together."""


def unit_step(group: ChannelGroup, multiple: int) -> int:
    """Return the number of units whose channels are a multiple of `multiple`."""
    return multiple // gcd(group.channels_per_unit, multiple)


def count_kept(group: ChannelGroup, total: int, ratio: float, multiple: int) -> int:
    """Return how many units of a group stay if the share `ratio` of its `total` goes.

    The channels that stay are the nearest multiple of `multiple`, at least one, or all of a group that has no more.
    """
    step = unit_step(group, multiple)
    if group.whole or total <= step or ratio == 0:
        return total
    return min(total, max(group.least, _nearest(total * (1 - ratio), step)))


def check_ratio(groups: list[ChannelGroup], ratio: float) -> None:
    """Raise ConfigError for a share that leaves nothing of a layer."""
    for group in groups:
        if not group.whole and len(group.units) > 1 and len(group.units) * (1 - ratio) < 0.5:
            raise ConfigError(
                f"prune.ratio={ratio:g} leaves nothing of {group.name}, which has {group.channels} channels; set a smaller one, or "
                f"leave the layer whole: prune.exclude=[{group.name}]"
            )


def select_units(
    groups: list[ChannelGroup], importances: list[Tensor], totals: list[int], ratio: float, multiple: int, scope: Scope
) -> list[list[int]]:  # fmt: skip
    """Return the numbers of the units that stay of each group, in order.

    Compared all together, the best of all stay, and of each group the multiple of channels that is nearest, at least one.

    Args:
        groups: the groups, whose units are those that are left so far.
        importances: of their units, (units,), of each group; of equal ones the first stays.
        totals: units that each group had at first.
        ratio: share of these that is to be gone.
        multiple: number of which the channels stay a multiple.
        scope: see `Scope`.
    """
    if scope == "layer":
        counts = [count_kept(group, total, ratio, multiple) for group, total in zip(groups, totals, strict=True)]
    else:
        counts = _best_of_all(groups, importances, totals, ratio, multiple)
    return [
        list(range(len(group.units))) if group.whole else _best(importance, min(count, len(group.units)))
        for group, importance, count in zip(groups, importances, counts, strict=True)
    ]


def _best_of_all(
    groups: list[ChannelGroup], importances: list[Tensor], totals: list[int], ratio: float, multiple: int
) -> list[int]:
    """Return how many units of each group are among the best of all, in multiples."""
    free = [number for number, group in enumerate(groups) if not group.whole]
    ranked = sorted((-value, number, unit) for number in free for unit, value in enumerate(importances[number].tolist()))
    wanted = [0] * len(groups)
    for _, number, _ in ranked[: round(sum(totals[number] for number in free) * (1 - ratio))]:
        wanted[number] += 1
    return [max(group.least, _nearest(count, unit_step(group, multiple))) for group, count in zip(groups, wanted, strict=True)]


def _best(importance: Tensor, count: int) -> list[int]:
    """Return the numbers of the most important units, in order; of equal ones the first."""
    values = importance.tolist()
    return sorted(sorted(range(len(values)), key=lambda unit: (-values[unit], unit))[:count])


def _nearest(number: float, step: int) -> int:
    """Return the multiple of `step` nearest to a number, at least one."""
    return max(step, step * int(number / step + 0.5))
