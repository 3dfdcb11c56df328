from __future__ import annotations

import pytest

from accel.export.quantisation.mixed_precision import fewest_floats


@pytest.mark.parametrize("layers", range(2, 12))
def test_it_returns_the_least_number_that_holds(layers: int) -> None:
    for least in range(1, layers + 1):
        asked: list[int] = []

        def holds(count: int, least: int = least, asked: list[int] = asked) -> bool:
            asked.append(count)
            return count >= least

        assert fewest_floats(holds, layers) == least
        assert layers not in asked, "an export without a single layer of 8 bits is none"
        assert 0 not in asked
        assert len(asked) == len(set(asked)) <= 2 * layers.bit_length()


def test_what_it_returns_holds_though_more_floats_may_do_harm() -> None:
    good = {2, 5}
    assert fewest_floats(good.__contains__, 9) in good
