"""The form of every help page: usage, examples and tables of two columns, as wide as the terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

__all__ = ["LONGEST_NAME", "NARROWEST", "WIDEST", "Row", "example_lines", "help_page", "page_width", "paragraphs", "two_columns"]

Row = tuple[str, str]
"""A name and a description."""

NARROWEST, WIDEST = 60, 110
"""Columns; longer lines are hard to read."""
LONGEST_NAME = 30
"""Characters; the description of a longer name begins on a line of its own."""


def page_width() -> int:
    """Return the columns of a page: those of the terminal, or 80 if the output goes elsewhere."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, NARROWEST), WIDEST)


def help_page(
    about: str, usages: Sequence[str], examples: Sequence[Row], sections: Sequence[tuple[str, Sequence[Row]]], notes: str = ""
) -> str:
    """Return a whole page.

    Args:
        about: sentences; an empty line parts paragraphs.
        usages: the forms of the command.
        examples: (command, explanation) pairs.
        sections: (title, rows) pairs; rows without a title continue the section before.
        notes: sentences for the foot.
    """
    width = page_width()
    lines = [*paragraphs(about, width), ""]
    lines += [f"{'Usage:' if number == 0 else '      '} {usage}" for number, usage in enumerate(usages)]
    if examples:
        lines += ["", "Examples", *example_lines(examples, width)]
    for title, rows in sections:
        lines += ["", title, *two_columns(rows, width)]
    if notes:
        lines += ["", *paragraphs(notes, width)]
    return "\n".join(lines)


def paragraphs(text: str, width: int) -> list[str]:
    """Return the lines of `text`, each paragraph wrapped on its own."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [*([""] if lines else []), *textwrap.wrap(" ".join(paragraph.split()), width)]
    return lines


def two_columns(rows: Sequence[Row], width: int) -> list[str]:
    """Return one line or more for each row: the name, then the description, wrapped beside it."""
    column = min(max((len(name) + 4 if name else 2 for name, _ in rows), default=0), LONGEST_NAME + 4)
    lines = []
    for name, description in rows:
        wrapped = textwrap.wrap(description, width - column) or [""]
        if name and len(name) + 4 > column:
            lines.append(f"  {name}")
        else:
            lines.append(f"{f'  {name}':<{column}}{wrapped.pop(0)}".rstrip())
        lines += [" " * column + line for line in wrapped]
    return lines


def example_lines(examples: Sequence[Row], width: int) -> list[str]:
    """Return the examples: an explanation stands behind its command if the line can hold both, and below it otherwise."""
    column = max((len(command) + 4 for command, text in examples if len(command) + 4 + len(text) <= width), default=0)
    lines = []
    for command, explanation in examples:
        if len(command) + 4 <= column and column + len(explanation) <= width:
            lines.append(f"{f'  {command}':<{column}}{explanation}")
        else:
            lines += [f"  {command}", f"      {explanation}"]
    return lines
