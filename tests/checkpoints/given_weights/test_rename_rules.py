"""New names by patterns of the old."""

from __future__ import annotations

import pytest

from accel.checkpoints.given_weights import read_rename, renamed

NAMES = ["body.0.weight", "body.1.bias", "head.weight", "[x].w"]


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        ({"body.*": "encoder.*"}, ["encoder.0.weight", "encoder.1.bias", "head.weight", "[x].w"]),
        ({"*.?.*": "*-*-*"}, ["body-0-weight", "body-1-bias", "head.weight", "[x].w"]),
        ({"body.[0]*": "b.*"}, ["b.0", "body.1.bias", "head.weight", "[x].w"]),
        ({"body.[!0].*": "b.?.*"}, ["body.0.weight", "b.1.bias", "head.weight", "[x].w"]),
        ({"head.weight": "fc.w"}, ["body.0.weight", "body.1.bias", "fc.w", "[x].w"]),
        ({"*.weight": "*.w", "*.bias": "*.b"}, ["body.0.w", "body.1.b", "head.w", "[x].w"]),
        ({"head.*": "a.*", "*": "b.*"}, ["b.body.0.weight", "b.body.1.bias", "a.weight", "b.[x].w"]),
        ([{"match": r"re:(\w+)[.](\d)[.](.*)", "to": r"\1.\3.\2"}], ["body.weight.0", "body.bias.1", "head.weight", "[x].w"]),
        ([{"match": "re:(?P<a>head).*", "to": r"\g<a>"}], ["body.0.weight", "body.1.bias", "head", "[x].w"]),
    ],
)
def test_what_stands_for_a_wildcard_is_carried_over(rename: object, expected: list[str]) -> None:
    new_names = renamed(NAMES, read_rename(rename), "a file")
    assert [new_names.get(name, name) for name in NAMES] == expected
