"""Words that are very long are cut before a tokeniser is trained on them: merging their pairs takes the square of their length."""

from __future__ import annotations

import pytest

from accel.tasks.language.bpe import LONGEST, cut_words

TEXTS = {
    "nothing": "",
    "short words": "a word and\n\nanother " * 200,
    "a word of the longest length": "x" * LONGEST,
    "one more": "x" * (LONGEST + 1),
    "base64 between words": "before " + "Zm9v" * 2000 + " after",
    "spaces": "before" + " " * 4 * LONGEST + "after",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_pieces_are_the_text_and_have_no_long_word(text: str) -> None:
    pieces = list(cut_words(text))
    assert "".join(pieces) == text
    assert all(len(word) <= LONGEST for piece in pieces for word in piece.split())
    if max(map(len, text.split()), default=0) <= LONGEST and "  " not in text:
        assert pieces == [text]
