"""Result of a run: what it came to, where the time went, tables for the summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from torch import nn

from accel.report.formatting import short_count

BOUND, LONG = 10.0, 1.0
"""A run is data-bound where so many percent of its training were spent waiting, and so many seconds at least."""


@dataclass
class DataFlow:
    """How the data came through.

    Args:
        wait: percent of the training time (evaluation, checkpoints and reports left out) that was spent waiting for data.
        waited: the same in seconds.
        rate: samples per second of training.
        ceiling: samples per second that the loader made while it was busy, beside the training; None where it was not measured.
        tries: what might help, as it is typed; empty where nothing needs to.
    """

    wait: float
    waited: float
    rate: float
    ceiling: float | None = None
    tries: list[str] = field(default_factory=list)

    @property
    def bound(self) -> bool:
        """Whether waiting for data is worth doing something about."""
        return self.wait >= BOUND and self.waited >= LONG

    def text(self) -> str:
        """In a sentence."""
        alone = "" if self.ceiling is None else f", and reading alone makes {short_count(self.ceiling)}"
        what = "data-bound" if self.bound else "too short to tell" if self.wait >= BOUND else "not data-bound"
        return f"{what}: {self.wait:.1f} % of the training waited for data; {short_count(self.rate)} samples/s came through{alone}"


@dataclass
class Section:
    """Rows of plain values under a title; all rows have the same columns.

    The last word of a column's name is the unit of its values, where they have one: `self ms`, `peak bytes`, `share percent`.
    """

    title: str
    rows: list[dict[str, str | int | float]] = field(default_factory=list)


SCHEMA = 1


@dataclass
class Result:
    """What `Trainer.fit` returns. `metrics` are those of the last evaluation, by name, such as `{"loss": ..., "accuracy": ...}`."""

    model: nn.Module
    """The user's own module; its weights are those that were evaluated last (the average, where one is kept)."""
    metrics: dict[str, float] = field(default_factory=dict)
    split: str = "val"
    """What the evaluated data is called."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The metrics of each evaluation, with its `epoch`, from 1."""
    loss: float = float("nan")
    """The training loss of the last update."""
    epochs: int = 0
    updates: int = 0
    skipped: int = 0
    """Updates that moved nothing, because a gradient or the loss was not finite."""
    samples: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    """How many samples of each data set could not be read, and were left out or replaced (`bad_data`)."""
    seconds: float = 0.0
    """Wall time of this fit, of which `shares` are the parts, in percent."""
    shares: dict[str, float] = field(default_factory=dict)
    flow: DataFlow | None = None
    """Whether the training waited for its data, and what to try where it did."""
    sections: dict[str, Section] = field(default_factory=dict)
    """Tables that watches add in `end`, by the name of the watch."""
    suggestions: dict[str, float] = field(default_factory=dict)
    """Settings by name, such as `onecycle.max_lr`, with the value that was found best on trial, before the first update."""
    remarks: list[str] = field(default_factory=list)
    """What the parts met with on the way, a sentence each."""
    out: Path | None = None
    files: list[str] = field(default_factory=list)
    """What was written, relative to `out`."""
    resume: str = ""
    """The command that goes on from here."""
    unsaved: dict[str, str] = field(default_factory=dict)
    """What the disk did not take in the end, by name, and why."""
    dry: bool = False

    def summary(self) -> dict[str, Any]:
        """The content of summary.json: plain values, with the version of their schema. NaN and infinity become null."""
        plain = {name: value for name, value in vars(self).items() if name != "model"}
        plain["sections"] = {name: vars(section) for name, section in self.sections.items()}
        plain["flow"] = None if self.flow is None else {**vars(self.flow), "bound": self.flow.bound}
        summary: dict[str, Any] = finite({"schema": SCHEMA, **plain, "out": None if self.out is None else str(self.out)})
        return summary


def finite(value: Any) -> Any:
    """The same with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
