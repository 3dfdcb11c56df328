"""tf.train.Example, as far as a data set of pictures needs it: features by name, and where their values lie in the record.

The format is protobuf's. An Example is a message Features, which is a map of names to Feature; a Feature is a list of bytes, of
floats or of whole numbers.

Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto, and protobuf's wire format,
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["BYTES", "FLOATS", "INTEGERS", "KINDS", "Feature", "byte_ranges", "features", "int_values"]

BYTES, FLOATS, INTEGERS = 1, 2, 3
"""Kinds of a feature, by their field number."""
KINDS = {BYTES: "bytes", FLOATS: "floats", INTEGERS: "whole numbers"}


class Feature(NamedTuple):
    """List of values: its kind, and where it begins and ends in the record, in bytes."""

    kind: int
    start: int
    end: int


def features(record: bytes) -> dict[str, Feature]:
    """Return the features of an Example, by name.

    Raises:
        ValueError: If the record is no Example.
    """
    by_name: dict[str, Feature] = {}
    for field, start, end in _messages(record, 0, len(record)):
        if field == 1:
            for entry, first, last in _messages(record, start, end):
                if entry == 1:
                    by_name |= _entry(record, first, last)
    return by_name


def _entry(record: bytes, start: int, end: int) -> dict[str, Feature]:
    """Return an entry of the map of features."""
    name, value = "", Feature(0, end, end)
    for field, first, last in _messages(record, start, end):
        if field == 1:
            name = record[first:last].decode()
        elif field == 2:
            value = next((Feature(*item) for item in _messages(record, first, last)), value)
    return {name: value}


def byte_ranges(record: bytes, feature: Feature) -> list[tuple[int, int]]:
    """Return begin and end in the record of each value of a list of bytes."""
    return [(start, end) for field, start, end in _messages(record, feature.start, feature.end) if field == 1]


def int_values(record: bytes, feature: Feature) -> list[int]:
    """Return the values of a list of whole numbers, packed or not.

    Raises:
        ValueError: If the list is damaged.
    """
    at, values = feature.start, []
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
            value &= (1 << 64) - 1
            values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _messages(record: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, begin and end of each field of a message that has a length."""
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
    """Return a number of seven bits per byte, lowest first, and the offset behind it."""
    value = shift = 0
    while at < end and shift < 70:
        byte = record[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number does not end")
