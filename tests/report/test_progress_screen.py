"""A run in the output of a notebook's cell: one page that grows, and a line below it that is renewed in place."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from accel.report.progress_line import ProgressLine
from accel.report.progress_screen import KEPT, NotebookScreen


class Cell:
    """What IPython's `display` shows: the pages of a cell, each as it was last."""

    def __init__(self) -> None:
        self.pages: list[dict[str, str]] = []

    def display(self, page: dict[str, str], raw: bool, display_id: bool) -> Cell.Place:
        assert raw
        assert display_id
        self.pages.append(page)
        return Cell.Place(self, len(self.pages) - 1)

    class Place:
        def __init__(self, cell: Cell, number: int) -> None:
            self.cell, self.number = cell, number

        def update(self, page: dict[str, str], raw: bool) -> None:
            assert raw
            self.cell.pages[self.number] = page


def line(update: int) -> ProgressLine:
    numbers: dict[str, Any] = {"loss": 0.5, "lr": 0.01, "rate": 10.0, "wait": 0.0, "skipped": None, "left": 1.0}
    return ProgressLine(epoch=1, epochs=2, update=update, updates=9, **numbers)


def test_lines_stay_above_the_one_that_is_renewed() -> None:
    cell = Cell()
    screen = NotebookScreen(cell.display)
    screen.print(Text("the plan", style="bold"))
    assert screen.begin_renewing()
    screen.renew(line(1))
    screen.print("epoch 1/2  loss 0.5", soft_wrap=True)
    screen.renew(line(2))
    page, below = (each["text/html"] for each in cell.pages)
    assert page.index("the plan") < page.index("epoch 1/2")
    assert page.count("<pre") == 1, "one block, whose lines are side by side"
    assert "update 2/9" in below
    assert "update 1/9" not in below
    assert "\x1b" not in str(cell.pages)
    screen.end_renewing(leave=False)
    screen.print("x" * 300, soft_wrap=True)
    assert cell.pages[1] == {"text/html": "", "text/plain": ""}
    assert "x" * 300 in cell.pages[0]["text/html"], "what is to be copied is one line"
    assert len(cell.pages) == 2


def test_the_last_line_stays_where_a_run_breaks_off() -> None:
    cell = Cell()
    screen = NotebookScreen(cell.display)
    screen.renew(line(3))
    screen.end_renewing(leave=True)
    assert "update 3/9" in cell.pages[0]["text/plain"]


def test_a_long_run_keeps_its_plan_and_its_newest_lines() -> None:
    cell = Cell()
    screen = NotebookScreen(cell.display)
    for number in range(KEPT + 9):
        screen.print(f"line {number}.")
    text = cell.pages[0]["text/plain"]
    assert "line 0." in text
    assert "line 5." not in text
    assert text.endswith(f"line {KEPT + 8}.")
