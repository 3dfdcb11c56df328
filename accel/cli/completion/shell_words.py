"""The words of an unfinished line, as a shell reads them, and the way back: candidates as bash inserts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "split_line"]


@dataclass(frozen=True)
class Line:
    """A line up to the cursor.

    Args:
        words: the words without quotes; the last is the cursor's, and may be empty.
        raw: the cursor's word as it is typed, with quotes.
        quote: the quote that is open at the cursor; empty for none.
    """

    words: list[str]
    raw: str
    quote: str

    def for_bash(self, candidates: Sequence[str], breaks: str) -> list[str]:
        """Return the parts of `candidates` that bash puts in place of the part of the word that it completes.

        Args:
            candidates: whole words, of which those that are finished end in a space.
            breaks: the characters at which bash begins a new word, its COMP_WORDBREAKS.
        """
        if self.quote:
            start = self.raw.rindex(self.quote) + 1
            candidates = [candidate.rstrip(" ") for candidate in candidates]  # bash closes the quote, and adds the space
        else:
            start = 1 + max((self.raw.rfind(character) for character in breaks), default=-1)
        kept = len(split_line(self.raw[:start]).words[-1])
        return [candidate[kept:] for candidate in candidates]


def split_line(line: str) -> Line:
    """Return the words of `line`, in which the last quote may be open."""
    words, start, quote, escaped, inside = [""], 0, "", False, False
    for place, character in enumerate(line):
        if escaped:
            words[-1] += character
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = inside = True
        elif quote:
            words[-1] += character if character != quote else ""
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote, inside = character, True
        elif character.isspace():
            if inside:
                words.append("")
            start, inside = place + 1, False
        else:
            words[-1] += character
            inside = True
    return Line(words, line[start:], quote)
