"""A few of many words, in one form."""

from __future__ import annotations

from typing import Any

import pytest

from accel.errors import listed


@pytest.mark.parametrize(
    ("words", "how", "text"),
    [
        ([], {}, ""), (["a"], {}, "a"), (["a", "b"], {}, "a and 1 more"), ("abc", {"most": 3}, "a, b, c"),
        (range(5000), {"most": 2}, "0, 1 and 4,998 more"), ("abcd", {"most": 2, "between": "; "}, "a; b; and 2 more"),
        ("abc", {"most": 1, "between": " | "}, "a | and 2 more"), ("ab", {"most": 2, "rest": 7}, "a, b and 7 more"),
        ("abc", {"most": 2, "rest": 7}, "a, b and 8 more"), ([], {"rest": 7}, ""),
    ],
)  # fmt: skip
def test_it_says_how_many_are_left_out(words: Any, how: dict[str, Any], text: str) -> None:
    assert listed(words, **how) == text
