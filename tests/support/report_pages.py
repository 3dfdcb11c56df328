"""Pages of reports as a browser sees them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["Reader", "read"]

VOID = {"meta", "br"}


class Reader(HTMLParser):
    """What a browser sees of a page: its tags, which must be closed in order, its texts, and what they refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        for name, value in attrs:
            assert not name.startswith("on"), "a handler is a script"
            self.links += [value or ""] if name in ("href", "src", "action", "data", "xlink:href") else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open = self.open if tag in VOID else self.open[:-1]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(page: Path) -> Reader:
    """Return a page, which must ask nobody for anything and hold no script."""
    text = page.read_text()
    reader = Reader(text)
    assert "script" not in reader.tags
    assert all(link.startswith("#") for link in reader.links), reader.links
    outside = text.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")  # names of languages
    assert not re.search(r"https?://|@import|url\((?!#)", outside)
    assert "default-src 'none'" in text
    return reader
