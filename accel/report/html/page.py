"""A whole page: the frame around its sections, each of which may fail by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from accel.report.html.markup import Content, Markup, element, join
from accel.report.html.stylesheet import STYLE

__all__ = ["POLICY", "Page"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may do for the page: nothing but draw it."""
FAULTS = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What a content of another shape than that of accel's files leads to."""


@dataclass
class Page:
    """A page under way.

    Args:
        title: of the page, a text of anyone.
        subtitles: lines below it.
    """

    title: str
    subtitles: Sequence[Content] = ()
    parts: list[Markup] = field(default_factory=list)

    def add(self, make: Callable[[], Content], title: str = "") -> None:
        """Add a part, in a section of its own if it has a title; nothing if it is empty, a sentence if its data is damaged."""
        try:
            content = make()
        except FAULTS as error:
            reason = f"could not be shown, for its data is damaged or of another accel ({type(error).__name__}: {error})"
            content = element("p", f"{title or 'a part of the page'} {reason}", class_="warn")
        if content:
            self.parts.append(element("section", element("h2", title), content) if title else join([content]))

    def html(self) -> str:
        """Return the file."""
        head = [
            Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            Markup('<meta name="color-scheme" content="light dark">'), element("title", self.title),
            Markup(f"<style>{STYLE}</style>"),
        ]  # fmt: skip
        top = [element("h1", self.title), *(element("p", line, class_="sub") for line in self.subtitles if line)]
        body = element("body", element("main", *top, *self.parts))
        return f'<!DOCTYPE html>\n<html lang="en">\n{element("head", *head)}\n{body}\n</html>\n'
