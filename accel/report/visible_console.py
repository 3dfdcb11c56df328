"""Console whose text cannot obey the terminal: only its own colours and movements of the cursor do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from accel.errors import visible

__all__ = ["VisibleConsole"]

KEPT = "\n\t"


class VisibleConsole(Console):
    """Console that shows every character of a text that a terminal would obey or hide (`accel.errors.visible`)."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of anything that can be drawn, made visible. What controls the cursor has no text, and passes."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text, KEPT), segment.style)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Return a text for drawing, made visible before it is measured."""
        return super().render_str(visible(text, KEPT), **settings)
