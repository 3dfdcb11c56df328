from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from accel.report.progress_line import ProgressLine

LINE = ProgressLine(3, 10, 1234, 5000, 0.1234, 9.77e-4, 12345.0, 3.2, 2, 34.0)


def drawn(line: ProgressLine, width: int) -> str:
    console = Console(width=width, force_terminal=True, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(line)
    return capture.get()


def test_in_full() -> None:
    assert LINE.text() == (
        "epoch 3/10  update 1,234/5,000  loss 0.1234  lr 9.77e-04  12,345 samples/s  data wait 3%  2 skipped  0:34 left"
    )


def test_at_80_columns() -> None:
    assert LINE.text(81) == "ep 3/10  1234/5000  loss 0.1234  lr 9.77e-04  12.3k/s  data 3%  2 skip  0:34 left"
    assert LINE.text(79) == "ep 3/10 1234/5000 loss 0.1234 lr 9.77e-04 12.3k/s data 3% 2 skip 0:34 left"
    line = replace(LINE, skipped=None)
    assert line.text(79) == "epoch 3/10  1234/5000  loss 0.1234  lr 9.77e-04  12.3k/s  data 3%  0:34 left"


def test_what_is_unknown_is_left_out() -> None:
    line = ProgressLine(1, 1, 7, None, None, 0.1, None, None, None, None)
    assert line.text() == "epoch 1/1  update 7  lr 1.00e-01"
    assert "━" not in drawn(line, 120), "no bar without an end"


@pytest.mark.parametrize("width", [20, 40, 80, 100, 120, 200])
@given(st.integers(0, 10**7), st.floats(0, 1e9), st.floats(0, 1e6), st.none() | st.integers(0, 10**6))
def test_it_is_one_line_that_fits(width: int, update: int, rate: float, left: float, skipped: int | None) -> None:
    line = replace(LINE, update=update, updates=10**7, rate=rate, left=left, skipped=skipped)
    text = drawn(line, width)
    assert text.count("\n") == 1
    assert len(text.rstrip("\n")) < width


def test_a_bar_fills_a_wide_line() -> None:
    assert "━" in drawn(LINE, 140)
    assert "━" not in drawn(LINE, 80)
