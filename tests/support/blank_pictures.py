"""Tests draw no picture, which takes a run of the toy as long as all the rest of it; those marked `draws` do."""

from __future__ import annotations

from accel.report import curves

DRAWN = curves.svg_bytes
BLANK = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>'


def draw_pictures(is_drawn: bool) -> None:
    """Let the figures of this process and its forks be drawn, or let an empty picture stand for each."""
    curves.svg_bytes = DRAWN if is_drawn else _blank


def _blank(figure: object) -> bytes:
    return BLANK
