"""What stays is the most important, in multiples of eight, and never nothing."""

from __future__ import annotations

import pytest
import torch

from accel.compress.pruning.channel_groups import ChannelGroup
from accel.compress.pruning.unit_selection import check_ratio, count_kept, select_units
from accel.errors import ConfigError


def group(name: str, units: int, per_unit: int = 1, whole: str = "") -> ChannelGroup:
    each = [{(name, "out"): [unit + units * place for place in range(per_unit)]} for unit in range(units)]
    return ChannelGroup(name, tuple(each), whole)  # type: ignore[arg-type]


@pytest.mark.parametrize(("units", "ratio", "multiple", "kept"), [
    (64, 0.5, 8, 32), (60, 0.5, 8, 32), (24, 0.5, 8, 16), (16, 0.9, 8, 8), (6, 0.5, 8, 6), (6, 0.5, 1, 3), (64, 0.0, 8, 64),
])  # fmt: skip
def test_channels_stay_in_multiples(units: int, ratio: float, multiple: int, kept: int) -> None:
    assert count_kept(group("a", units), units, ratio, multiple) == kept


def test_channels_that_go_in_pairs_stay_in_multiples_too() -> None:
    assert count_kept(group("a", 16, per_unit=2), 16, 0.5, 8) == 8
    assert count_kept(group("a", 16, per_unit=2), 16, 0.7, 8) == 4, "that is 8 channels"


def test_the_most_important_stay() -> None:
    groups = [group("a", 4), group("b", 4, whole="it is given out")]
    values = [torch.tensor([0.1, 0.4, 0.4, 0.2]), torch.zeros(4)]
    assert select_units(groups, values, [4, 4], 0.5, 1, "layer") == [[1, 2], [0, 1, 2, 3]]
    equal = [torch.ones(4), torch.zeros(4)]
    assert select_units(groups, equal, [4, 4], 0.5, 1, "layer")[0] == [0, 1], "of equal ones the first"


def test_of_all_layers_together_the_most_important_stay_and_one_of_each() -> None:
    groups = [group("a", 4), group("b", 4)]
    values = [torch.tensor([5.0, 6.0, 7.0, 8.0]), torch.tensor([1.0, 2.0, 3.0, 4.0])]
    assert select_units(groups, values, [4, 4], 0.5, 1, "global") == [[0, 1, 2, 3], [3]]
    assert select_units(groups, values, [4, 4], 0.25, 1, "global") == [[0, 1, 2, 3], [2, 3]]
    assert select_units(groups, values, [4, 4], 0.25, 4, "global") == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_a_share_that_leaves_nothing_of_a_layer_is_refused() -> None:
    check_ratio([group("a", 16)], 0.9)
    with pytest.raises(ConfigError, match=r"prune\.ratio=0\.99 leaves nothing of conv, which has 16 channels"):
        check_ratio([group("wide", 640), group("conv", 16)], 0.99)
