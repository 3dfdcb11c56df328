"""One rule for every pattern over the names of parameters."""

from __future__ import annotations

from typing import Any

import pytest

from accel.errors import ConfigError
from accel.parts.shared.name_patterns import matching, matching_some

NAMES = ["embed.weight", "blocks.0.mlp.weight", "blocks.0.mlp.bias", "blocks.10.mlp.weight", "Head.bias"]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("embed.*", ["embed.weight"]),
        ("*.bias", ["blocks.0.mlp.bias", "Head.bias"]),
        ("blocks.?.*", ["blocks.0.mlp.weight", "blocks.0.mlp.bias"]),
        ("blocks.[1-9]*", ["blocks.10.mlp.weight"]),
        ("embed.weight", ["embed.weight"]),
        ("embed", []),
        ("head.*", []),
        ("*", NAMES),
        ("re:blocks[.][0-9]+[.].*", NAMES[1:4]),
        ("re:blocks", []),
        ("re:(?i:head).*", ["Head.bias"]),
    ],
)
def test_matches(pattern: str, matches: list[str]) -> None:
    assert matching(pattern, iter(NAMES)) == matches


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("embed.weigth", r"groups\[0\]: 'embed.weigth' matches no parameter; .*'embed.weight'"),
        ("zzz", r"groups\[0\]: 'zzz' matches no parameter; the first is called 'embed.weight'"),
        ("re:(", r"groups\[0\]: 're:\(' is no regular expression"),
        (3, r"groups\[0\]: a pattern for names must be a text, not 3"),
        (None, r"groups\[0\]: a pattern for names must be a text"),
        (["a"], r"groups\[0\]: a pattern for names must be a text"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused(pattern: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        matching_some(pattern, iter(NAMES), "groups[0]")


def test_nothing_to_match() -> None:
    with pytest.raises(ConfigError, match="there is no parameter"):
        matching_some("*", [], "freeze")
