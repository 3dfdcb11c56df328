"""Journal of a run's points: a line of JSON for each, from which a tracker that cannot forget is handed what is certain."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from math import isfinite
from pathlib import Path

from accel.parts.shared.trackers.tracker import Point

__all__ = ["journal_line", "journal_position", "read_points", "whole_updates"]


def journal_line(point: Point) -> bytes:
    """Return a point as a line. JSON has no NaN and no infinity: such a number is a text."""
    values = {name: value if isfinite(value) else str(value) for name, value in point.values.items()}
    return json.dumps({**asdict(point), "values": values}).encode() + b"\n"


def journal_position(line: bytes) -> tuple[int, bool]:
    """Return the update of a line, and whether it is that of the update itself, and not of the evaluation after it."""
    row = json.loads(line)
    return row["step"], not row["evaluation"]


def read_points(path: Path, start: int, end: int, most: int) -> tuple[list[Point], list[int]]:
    """Return points of a journal, and where the line of each ends, in bytes.

    Args:
        path: the file.
        start: where the first line begins, in bytes.
        end: where the last one ends.
        most: points, at most; further ones of the last update are read all the same.

    Raises:
        OSError: if the file cannot be read.
    """
    points, ends = list[Point](), list[int]()
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            line = file.readline()
            if not line:
                break
            row = json.loads(line)
            if len(points) >= most and row["step"] != points[-1].step:
                break
            start += len(line)
            row["values"] = {name: float(value) for name, value in row["values"].items()}
            points.append(Point(**row))
            ends.append(start)
    return points, ends


def whole_updates(points: list[Point]) -> list[Point]:
    """Return one point for each update: its own numbers, and those of the evaluation after it."""
    groups = [list(group) for _, group in groupby(points, lambda point: point.step)]
    merged = [{name: value for point in group for name, value in point.values.items()} for group in groups]
    return [Point(group[-1].step, group[0].time, values) for group, values in zip(groups, merged, strict=True)]
