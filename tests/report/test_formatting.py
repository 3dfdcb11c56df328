from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel.report.formatting import duration, elapsed, metric, number, rounded_percentages, setting, short_count


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_shares_add_up_as_printed(spent: list[float]) -> None:
    shares = {str(index): seconds for index, seconds in enumerate(spent)}
    printed = [float(f"{share:.1f}") for share in rounded_percentages(shares).values()]
    assert round(10 * sum(printed)) == (1000 if sum(spent) else 0)
    for share, seconds in zip(printed, spent, strict=True):
        assert share == pytest.approx(100 * seconds / (sum(spent) or 1), abs=0.1 + 1e-9)


def test_rounding_each_share_by_itself_would_not() -> None:
    assert rounded_percentages({"a": 1, "b": 1, "c": 1}) == {"a": 33.4, "b": 33.3, "c": 33.3}


def test_numbers() -> None:
    values = [0.98611, 0.99, 0, 3.1e-5, -0.5, 12.345, 345.67, 12345.6, 3.2e7, nan, inf]
    shown = ["0.9861", "0.9900", "0", "3.10e-05", "-0.5000", "12.35", "345.67", "12,345.6", "3.20e+07", "nan", "inf"]
    assert [number(value) for value in values] == shown


def test_counts() -> None:
    values = [0, 7.4, 999, 1000, 9994, 9996, 12_345, 99_960, 999_400, 999_600, 4.5e6, 2e9, 3e12]
    shown = ["0", "7", "999", "1.00k", "9.99k", "10.0k", "12.3k", "100k", "999k", "1.00M", "4.50M", "2.00G", "3000G"]
    assert [short_count(value) for value in values] == shown


def test_durations() -> None:
    values = [0, 6.6, 59.6, 3599, 3600, 86399, 86400 * 2 + 3723]
    assert [duration(value) for value in values] == ["0:00", "0:07", "1:00", "59:59", "1:00:00", "23:59:59", "2 d 01:02:03"]
    assert [elapsed(value) for value in (0.04, 59.9, 59.96, 61)] == ["0.0 s", "59.9 s", "1:00", "1:01"]


def test_settings_read_as_they_are_typed() -> None:
    values = [True, None, 1e-8, "cos", [1, None], {}]
    assert [setting(value) for value in values] == ["true", "null", "1e-08", "cos", "[1,null]", "{}"]
    assert metric("test", "top_5_accuracy") == "test top 5 accuracy"
