"""Console whose text cannot obey the terminal: only its own colours and movements of the cursor do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from accel.errors import visible

__all__ = ["BLOCK", "NOTEBOOK_WIDTH", "VisibleConsole", "html_block", "text_block"]

KEPT = "\n\t"
STYLE = "line-height: normal; font-size: 12px; font-family: Menlo, Consolas, monospace; white-space: pre; overflow-x: auto"
BLOCK = f'<pre style="{STYLE}">{{code}}</pre>'
"""Page of a notebook: notebooks give the columns of a bare `pre` letters of unequal width, or wrap its lines."""
NOTEBOOK_WIDTH = 100
"""Columns of what a run shows in a notebook."""


class VisibleConsole(Console):
    """Console that shows every character of a text that a terminal would obey or hide (`accel.errors.visible`)."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of anything that can be drawn, made visible. What controls the cursor has no text, and passes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text, KEPT), segment.style)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a text for drawing, made visible before it is measured."""
        return super().render_str(visible(text, KEPT), **settings)


def text_block(show: Callable[[VisibleConsole], object], width: int) -> str:
    """Return what a function prints as plain lines, without spaces at their ends; nothing else shows it, a notebook neither.

    Args:
        show: prints on the console that it is given.
        width: of the lines, in columns.
    """
    console = VisibleConsole(
        width=width, color_system=None, markup=False, highlight=False, file=StringIO(), force_jupyter=False, force_terminal=False
    )
    with console.capture() as capture:
        show(console)
    return "\n".join(line.rstrip() for line in capture.get().strip("\n").splitlines())


def html_block(show: Callable[[VisibleConsole], object], width: int, block: str = BLOCK) -> str:
    """Return what a function prints as a block of HTML with styles of its own, in the reader's colours; nothing else shows it.

    Args:
        show: prints on the console that it is given.
        width: of the block, in columns.
        block: what stands around it; `{code}` for nothing, if it is to be put into a block with others.
    """
    # in a notebook a console shows what it prints, whatever its file is, and the page would stand there twice
    console = VisibleConsole(width=width, record=True, markup=False, highlight=False, file=StringIO(), force_jupyter=False)
    show(console)
    return console.export_html(inline_styles=True, code_format=block)
