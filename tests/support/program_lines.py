"""How long a program is: its lines of code."""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from pathlib import Path

__all__ = ["code_lines", "lines_in_both", "lines_of_code", "lines_of_program"]

LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(text: str) -> int:
    """Return the number of lines that hold code: imports among them, but no blank lines, comments or docstrings."""
    return len(code_lines(text))


def code_lines(text: str) -> list[str]:
    """Return the lines of a Python program that hold code, without the space around them."""
    numbers: set[int] = set()
    first_in_statement = True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        is_docstring = first_in_statement and token.type == tokenize.STRING
        if token.type not in LAYOUT and not is_docstring:
            numbers.update(range(token.start[0], token.end[0] + 1))
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            first_in_statement = True
        elif token.type not in (tokenize.COMMENT, tokenize.NL):
            first_in_statement = False
    lines = text.splitlines()
    return [lines[number - 1].strip() for number in sorted(numbers)]


def lines_of_program(path: Path) -> list[str]:
    """Return the lines of code of a program: a file, or a folder of Python files and yaml files, whose comments do not count."""
    if path.is_dir():
        files = sorted(file for ending in ("py", "yaml") for file in path.rglob(f"*.{ending}"))
        return [line for file in files for line in lines_of_program(file)]
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return code_lines(text)
    return [line for raw in text.splitlines() if (line := raw.strip()) and not line.startswith("#")]


def lines_in_both(before: Path, after: Path) -> int:
    """Return how many lines of code two programs share, in whatever order: data and model, where they are the same."""
    return (Counter(lines_of_program(before)) & Counter(lines_of_program(after))).total()
