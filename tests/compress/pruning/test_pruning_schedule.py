"""The schedule is the paper's cubic, evenly spaced, ends at its share exactly, and is refused where there is no room."""

from __future__ import annotations

import pytest

from accel.compress.pruning.pruning_schedule import cubic, find_pruning_updates, resolve_update
from accel.errors import ConfigError


def test_the_share_follows_the_paper() -> None:
    # s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 with s_i = 0
    for step in (0, 100, 137, 250, 400, 500, 900):
        part = min(max((step - 100) / 400, 0), 1)
        assert cubic(step, 100, 500, 0.8) == pytest.approx(0.8 + (0 - 0.8) * (1 - part) ** 3)
    assert cubic(500, 100, 500, 0.3) == 0.3


def test_steps_are_evenly_spaced_and_end_at_the_share() -> None:
    points = find_pruning_updates(10, 50, 4, 0.5)
    assert list(points) == [20, 30, 40, 50]
    assert points[50] == 0.5
    assert list(points.values()) == [pytest.approx(cubic(update, 10, 50, 0.5)) for update in points]
    gains = [later - earlier for earlier, later in zip([0, *points.values()], points.values(), strict=False)]
    assert gains == sorted(gains, reverse=True), "the less is left, the less goes"
    assert find_pruning_updates(0, 30, 1, 0.5) == {30: 0.5}
    assert find_pruning_updates(0, 0, 1, 0.5) == {0: 0.5}, "before the first update"


def test_what_has_no_room_is_refused() -> None:
    for begin, end, steps in ((5, 4, 1), (5, 7, 3)):
        with pytest.raises(ConfigError, match="has no room between"):
            find_pruning_updates(begin, end, steps, 0.5)
    assert resolve_update("prune.end", 0.25, 40) == 10
    assert resolve_update("prune.end", 7, None) == 7
    with pytest.raises(ConfigError, match="its length is unknown"):
        resolve_update("prune.end", 0.25, None)
    with pytest.raises(ConfigError, match=r"prune\.end=40 is not within the run of 40 updates"):
        resolve_update("prune.end", 40, 40)
