"""New names by patterns of the old."""

from __future__ import annotations

import pytest

from accel.checkpoints.given_weights import read_rename, renamed

NAMES = ["backbone.0.weight", "backbone.1.bias", "head.weight", "[x].w"]


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        ({"backbone.*": "encoder.*"}, {"backbone.0.weight": "encoder.0.weight", "backbone.1.bias": "encoder.1.bias"}),
        ({"*.?.*": "?.*.*"}, {"backbone.0.weight": "backbone.0.weight", "backbone.1.bias": "backbone.1.bias"}),
        ({"backbone.[0]*": "b.*"}, {"backbone.0.weight": "b.0"}),
        ({"backbone.[!0].*": "b.?.*"}, {"backbone.1.bias": "b.1.bias"}),
        ({"head.weight": "fc.w"}, {"head.weight": "fc.w"}),
        ({"*.weight": "*.w", "*.bias": "*.b"}, {"backbone.0.weight": "backbone.0.w", "backbone.1.bias": "backbone.1.b", "head.weight": "head.w"}),
        ({"head.*": "a.*", "*": "b.*"}, {"backbone.0.weight": "b.backbone.0.weight", "backbone.1.bias": "b.backbone.1.bias", "head.weight": "a.weight", "[x].w": "b.[x].w"}),
        ([{"match": r"re:(\w+)[.](\d)[.](.*)", "to": r"\1.\3.\2"}], {"backbone.0.weight": "backbone.weight.0", "backbone.1.bias": "backbone.bias.1"}),
        ([{"match": "re:(?P<a>head).*", "to": r"\g<a>"}], {"head.weight": "head"}),
    ],
)  # fmt: skip
def test_what_stands_for_a_wildcard_is_carried_over(rename: object, expected: dict[str, str]) -> None:
    assert renamed(NAMES, read_rename(rename), "a file") == expected
