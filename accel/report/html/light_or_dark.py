"""Drawings that are files of their own, light or dark as the reader's system is, and light where nobody asks it."""

from __future__ import annotations

from accel.report.html.charts import COLOURS, PALETTE_COLOURS
from accel.report.html.stylesheet import DARK_PALETTE, PALETTE
from accel.report.html.stylesheet import INK as INKS

__all__ = ["CARD", "INK", "light_or_dark"]

PAINTS = ("fill", "stroke")
NAMES = dict(zip(INKS, COLOURS, strict=False))
INK, CARD = NAMES["ink"], NAMES["card"]
"""Colours that stand in a drawing for those of letters and of the ground."""
LOOKS = {
    **{NAMES[name]: colours for name, colours in INKS.items()},
    **dict(zip(PALETTE_COLOURS, zip(PALETTE, DARK_PALETTE, strict=True), strict=True)),
}  # fmt: skip
"""The light and the dark colour behind each that stands in a drawing."""


def light_or_dark(svg: str) -> str:
    """Return an SVG file whose colours are those of `COLOURS` with the light ones in it, and a style that has the dark ones."""
    rules: list[str] = []
    for place, (light, dark) in LOOKS.items():
        svg = svg.replace(place, light)
        matched = (f'[style*="{kind}: {light};"],[style$="{kind}: {light}"]{{{kind}:{dark}!important}}' for kind in PAINTS)
        rules.extend(matched)
    style = f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    head, mark, rest = svg.partition("<defs>")
    return f"{head}{style}{mark}{rest}"
