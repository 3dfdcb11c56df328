"""Where a run shows itself: a terminal, a log, or the output of a notebook's cell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rich.console import RenderableType
from rich.live import Live

from accel.report.progress_line import ProgressLine
from accel.report.visible_console import BLOCK, NOTEBOOK_WIDTH, VisibleConsole, html_block, text_block
from accel.system.pipes import survive_broken_pipe

__all__ = ["KEPT", "NotebookScreen", "Screen", "open_screen"]

KEPT = 500
"""Blocks that a notebook's output has at most: a page is sent as a whole."""


class Screen:
    """Lines below one another, and one that is renewed in place on a terminal; a log has that one now and then.

    Args:
        quiet: show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = VisibleConsole(file=survive_broken_pipe(sys.stdout), highlight=False, markup=False, quiet=quiet)
        self.live: Live | None = None

    def begin_renewing(self) -> bool:
        """Return whether the last line is renewed in place from here on."""
        if not self.console.quiet and self.console.is_terminal and not self.console.is_dumb_terminal:
            # drawn by this thread: a drawing thread would hold locks while workers are forked
            self.live = Live(console=self.console, auto_refresh=False)
            self.live.start()
        return self.live is not None

    def print(self, content: RenderableType, soft_wrap: bool = False) -> None:
        """Show something that stays; a long line goes on as it is with `soft_wrap`."""
        self.console.print(content, soft_wrap=soft_wrap)

    def renew(self, line: ProgressLine) -> None:
        """Show a line in place of that from before, or below it in a log."""
        if self.live is None:
            self.console.print(line.text(), soft_wrap=True)
        else:
            self.live.update(line, refresh=True)

    def end_renewing(self, leave: bool) -> None:
        """End the line that is renewed; `leave` says whether its last state stays."""
        if self.live is not None:
            self.live.transient = not leave
            self.live.stop()
            self.live = None


class NotebookScreen(Screen):
    """The output of a notebook's cell: two pages, one of all that stays, and below it the line, each renewed in place.

    Args:
        display: IPython's function of that name.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        super().__init__(quiet=True)
        self.display, self.blocks, self.texts = display, list[str](), list[str]()
        self.page: Any = None
        self.line: Any = None

    def begin_renewing(self) -> bool:
        return True

    def print(self, content: RenderableType, soft_wrap: bool = False) -> None:
        width = max(NOTEBOOK_WIDTH, len(content)) if soft_wrap and isinstance(content, str) else NOTEBOOK_WIDTH

        def show(console: VisibleConsole) -> None:
            console.print(content)

        self.blocks.append(html_block(show, width, "{code}"))
        self.texts.append(text_block(show, width))
        del self.blocks[1:-KEPT], self.texts[1:-KEPT]  # the first is the plan
        self.page = self.shown(self.page, BLOCK.format(code="".join(self.blocks)), "\n".join(self.texts))

    def renew(self, line: ProgressLine) -> None:
        page = html_block(lambda console: console.print(line), NOTEBOOK_WIDTH)
        self.line = self.shown(self.line, page, line.text())

    def end_renewing(self, leave: bool) -> None:
        if self.line is not None and not leave:
            self.shown(self.line, "", "")
        self.line = None

    def shown(self, place: Any, html: str, text: str) -> Any:
        """Show a page, in place of what `place` has if it is one; return its place."""
        page = {"text/html": html, "text/plain": text}
        if place is None:
            return self.display(page, raw=True, display_id=True)
        place.update(page, raw=True)
        return place


def open_screen(quiet: bool) -> Screen:
    """Return the screen of this process."""
    screen = Screen(quiet)
    if quiet or not screen.console.is_jupyter:
        return screen
    from IPython.display import display

    return NotebookScreen(display)
