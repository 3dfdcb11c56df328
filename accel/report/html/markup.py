"""Pieces of HTML: every text that goes into one is escaped, and only what is markup already is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from accel.errors import visible

__all__ = ["Content", "Markup", "definitions", "element", "join", "markup", "paragraphs", "table"]


Content = object
"""Anything that can stand in an element: markup, a text, a number, or None for nothing."""


class Markup(str):
    """Text that is HTML. Any other text is escaped where it becomes a part of one."""

    __slots__ = ()

    def __add__(self, other: Content) -> Markup:
        """Return this with another content behind it, which is escaped unless it is HTML."""
        return Markup(str.__add__(self, markup(other)))


def markup(content: Content) -> Markup:
    """Return a content as HTML: a text escaped, with every character shown that a reader would not see.

    >>> markup("<script>")
    '&lt;script&gt;'
    """
    if isinstance(content, Markup):
        return content
    return Markup("" if content is None else escape(visible(str(content), keep="\n\t")))


def join(contents: Iterable[Content]) -> Markup:
    """Return contents behind each other."""
    return Markup("".join(map(markup, contents)))


def element(tag: str, *contents: Content, **attributes: Content) -> Markup:
    """Return an element.

    Args:
        tag: its name.
        *contents: what stands in it.
        **attributes: by name, escaped; `_` stands for `-`, and for nothing behind a name that Python has taken, as in `class_`.
            None leaves one out.
    """
    words = [
        f' {name.removesuffix("_").replace("_", "-")}="{markup(value)}"' for name, value in attributes.items() if value is not None
    ]
    return Markup(f"<{tag}{''.join(words)}>{join(contents)}</{tag}>")


def table(columns: Sequence[Content], rows: Iterable[Sequence[Content]], numbers: Iterable[int] = (), class_: str = "") -> Markup:
    """Return a table in a box that scrolls sideways where the page is narrow.

    Args:
        columns: headings; none are shown if all are empty.
        rows: the cells of each row.
        numbers: places of the columns whose cells stand to the right.
        class_: of the table.
    """
    right = set(numbers)

    def cells(tag: str, row: Sequence[Content]) -> Markup:
        return join(element(tag, cell, class_="number" if place in right else None) for place, cell in enumerate(row))

    head = element("thead", element("tr", cells("th", columns))) if any(columns) else None
    body = element("tbody", *(element("tr", cells("td", row)) for row in rows))
    return element("div", element("table", head, body, class_=class_ or None), class_="scroll")


def definitions(facts: Iterable[tuple[Content, Content]]) -> Markup:
    """Return a list of names, each with its value beside it; nothing for none."""
    pairs = [element("dt", name) + element("dd", value) for name, value in facts]
    return element("dl", *pairs) if pairs else Markup("")


def paragraphs(texts: Iterable[Content], class_: str | None = None) -> Markup:
    """Return a paragraph for each text."""
    return join(element("p", text, class_=class_) for text in texts)
