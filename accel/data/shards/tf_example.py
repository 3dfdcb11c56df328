"""tf.train.Example, as far as a data set of pictures needs it: features by name, and where in the record each one's value lies.

The format is protobuf's: an Example is a message Features, which is a map of names to Feature; a Feature is a list of bytes,
of floats or of whole numbers. https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["BYTES", "FLOATS", "KINDS", "NUMBERS", "Feature", "features", "numbers", "texts"]

BYTES, FLOATS, NUMBERS = 1, 2, 3
"""The kinds of a feature."""
KINDS = {BYTES: "bytes", FLOATS: "floats", NUMBERS: "whole numbers"}


class Feature(NamedTuple):
    """The value of a feature."""

    kind: int
    start: int
    """Where its list begins in the record."""
    end: int


def features(record: bytes) -> dict[str, Feature]:
    """Those of an Example, by name.

    Raises:
        ValueError: where the record is none.
    """
    found: dict[str, Feature] = {}
    for field, start, end in _messages(record, 0, len(record)):
        if field == 1:
            for entry, first, last in _messages(record, start, end):
                if entry == 1:
                    found |= _entry(record, first, last)
    return found


def _entry(record: bytes, start: int, end: int) -> dict[str, Feature]:
    name, value = "", Feature(0, end, end)
    for field, first, last in _messages(record, start, end):
        if field == 1:
            name = record[first:last].decode()
        elif field == 2:
            value = next((Feature(*item) for item in _messages(record, first, last)), value)
    return {name: value}


def texts(record: bytes, feature: Feature) -> list[tuple[int, int]]:
    """Where each value of a list of bytes begins and ends in the record."""
    return [(start, end) for field, start, end in _messages(record, feature.start, feature.end) if field == 1]


def numbers(record: bytes, feature: Feature) -> list[int]:
    """The values of a list of whole numbers."""
    at, found = feature.start, []
    while at < feature.end:
        tag, at = _varint(record, at, feature.end)
        if tag == 1 << 3 | 2:  # packed
            length, at = _varint(record, at, feature.end)
            last = at + length
            if last > feature.end:
                raise ValueError("a list ends behind its feature")
        elif tag == 1 << 3:
            last = at + 1
        else:
            raise ValueError(f"the tag {tag} stands where a number should")
        while at < last:
            value, at = _varint(record, at, feature.end)
            found.append(value - (1 << 64) if value >> 63 else value)
    return found


def _messages(record: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that have a length: number, beginning and end."""
    while at < end:
        tag, at = _varint(record, at, end)
        if tag & 7 == 2:
            length, at = _varint(record, at, end)
            if at + length > end:
                raise ValueError("a field ends behind its message")
            yield tag >> 3, at, at + length
            at += length
        elif tag & 7 == 0:
            _, at = _varint(record, at, end)
        elif tag & 7 in (1, 5):
            at += 8 if tag & 7 == 1 else 4
        else:
            raise ValueError(f"the tag {tag} is none of protobuf's")


def _varint(record: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits per byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < end and shift < 70:
        byte = record[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number does not end")
