"""The result of a run: its metrics, its use of time, tables for the summary."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from accel.report.formatting import throughput
from accel.report.pace import Pace

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["BOUND", "LONG", "SCHEMA", "Best", "DataFlow", "Result", "Section", "finite"]

BOUND, LONG = 10.0, 1.0
"""A run is data-bound if at least so many percent of its training, and so many seconds, were spent waiting."""


@dataclass
class DataFlow:
    """The flow of data into a run.

    Args:
        wait: percent of the training time (evaluation, checkpoints and reports left out) that was spent waiting for data.
        waited: seconds spent waiting for data.
        rate: samples per second of training.
        ceiling: samples per second of the loader while it was busy, beside the training; None if it was not measured.
        tries: suggested remedies, as they are typed; empty if none is needed.
    """

    wait: float
    waited: float
    rate: float
    ceiling: float | None = None
    tries: list[str] = field(default_factory=list)

    @property
    def bound(self) -> bool:
        """Whether waiting for data is worth a remedy."""
        return self.wait >= BOUND and self.waited >= LONG

    def text(self) -> str:
        """Return the flow in a sentence."""
        verdict = "data-bound" if self.bound else "too short to tell" if self.wait >= BOUND else "not data-bound"
        return f"{verdict}: {self.wait:.1f} % of the training waited for data; {throughput(self.rate, self.ceiling)}"


@dataclass
class Best:
    """The best evaluation of a run by `checkpoint.best`, and its weights."""

    metric: str
    value: float
    epoch: int
    """The epoch that it ended, from 1."""
    file: Path
    """best.safetensors: the weights that were evaluated then, the averaged ones if an average is kept."""
    checkpoint: str
    """The name of the checkpoint of the same moment, from which training can go on."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights on the CPU, by their names in the user's module; tied ones once. Raise OSError if they are gone."""
        from safetensors.torch import load_file

        return load_file(self.file)

    def load(self, model: nn.Module) -> nn.Module:
        """Load the weights into a module of the same make, and return it. Raise RuntimeError if they do not fit."""
        state, own = self.state_dict(), model.state_dict()
        stored = {_memory(own[name]) for name in state if name in own}
        tied = {name: value for name, value in own.items() if name not in state and _memory(value) in stored}
        model.load_state_dict({**tied, **state})
        return model


def _memory(value: Any) -> Any:
    return (value.device, value.data_ptr(), value.dtype, value.shape, value.stride()) if isinstance(value, Tensor) else id(value)


@dataclass
class Section:
    """Rows of plain values under a title; all rows have one set of columns.

    The last word of a column's name is the unit of its values, if they have one: `self ms`, `peak bytes`, `share percent`.
    """

    title: str
    rows: list[dict[str, str | int | float]] = field(default_factory=list)


SCHEMA = 1


@dataclass(repr=False)
class Result:
    """The result of `Trainer.fit`, which a notebook shows as its summary.

    `metrics` are of the last evaluation, by name, such as `{"loss": ..., "accuracy": ...}`.
    """

    model: nn.Module
    """The user's own module; its weights are the ones evaluated last (the average, if one is kept)."""
    metrics: dict[str, float] = field(default_factory=dict)
    split: str = "val"
    """The name of the evaluated data."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The metrics of each evaluation, with its `epoch`, from 1."""
    loss: float = float("nan")
    """The training loss of the last update."""
    best: Best | None = None
    """The best evaluation by `checkpoint.best`, with its weights; None without that setting, or on ranks above 0."""
    finite: bool = True
    """Whether the final weights are finite, and the loss of the last update is, unless updates were skipped."""
    divergence: str = ""
    """A sentence on what is not finite; empty if all is."""
    stopped: str = ""
    """Why the run ended before its planned end, in words: `run.stop(reason)`, or `max_seconds`."""
    epochs: int = 0
    updates: int = 0
    skipped: int = 0
    """Updates that moved nothing, because a gradient or the loss was not finite, or because the loss had no items."""
    empty: int = 0
    """Updates that moved nothing because the loss had no items (`n_items=0`); they are among the skipped ones."""
    samples: int = 0
    bad: dict[str, int] = field(default_factory=dict)
    """How many samples of each data set could not be read, and were left out or replaced (`bad_data`)."""
    seconds: float = 0.0
    """Wall time of this fit, without `drawing`; `shares` are its parts in percent."""
    drawing: float = 0.0
    """Seconds that drawing the curves took at the end."""
    pace: Pace | None = None
    """Samples per second without the warm-up, with their range; None if the run was too short to tell."""
    shares: dict[str, float] = field(default_factory=dict)
    flow: DataFlow | None = None
    """Whether the training waited for its data, and suggested remedies if it did."""
    verdict: str = ""
    """What took most of the time, in a sentence; empty if the run was too short to tell, or its clock cannot."""
    doctor: str = ""
    """The command that measures why it is not faster; empty for a run that was started in Python."""
    sections: dict[str, Section] = field(default_factory=dict)
    """Tables that watches add in `end`, by the name of the watch."""
    suggestions: dict[str, float] = field(default_factory=dict)
    """Settings by name, such as `onecycle.max_lr`, with the best value of a trial before the first update."""
    remarks: list[str] = field(default_factory=list)
    """Events of the run that the parts report, a sentence each."""
    out: Path | None = None
    files: list[str] = field(default_factory=list)
    """The files written, relative to `out`."""
    resume: str = ""
    """The command that goes on from here."""
    unsaved: dict[str, str] = field(default_factory=dict)
    """The files that the disk did not take in the end, by name, and why."""
    dry: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)
    """`versions`, `host`, `command` and `git` (`revision`, `dirty`, the digest `diff`) of a run with a directory."""
    memory: dict[str, int] = field(default_factory=dict)
    """Peak of memory in bytes: resident in the `process`, and on a GPU allocated on the `device`, both since it began."""

    @property
    def report(self) -> Path | None:
        """The page of the run, report.html; None if none was written."""
        return self.out / "report.html" if self.out is not None and "report.html" in self.files else None

    def __rich__(self) -> RenderableType:
        from accel.report.summary import draw

        return draw(self)

    def __repr__(self) -> str:
        from accel.report.summary import amount, headline

        return f"Result({headline(self)}; {amount(self)})"

    def _repr_html_(self) -> str:
        from accel.report.visible_console import NOTEBOOK_WIDTH, html_block

        return html_block(lambda console: console.print(self), NOTEBOOK_WIDTH)

    def summary(self) -> dict[str, Any]:
        """Return the content of summary.json: plain values, with the version of their schema. NaN and infinity become null."""
        plain = {name: value for name, value in vars(self).items() if name != "model"}
        plain["sections"] = {name: vars(section) for name, section in self.sections.items()}
        plain["best"] = None if self.best is None else {**vars(self.best), "file": self.best.file.name}
        plain["flow"] = None if self.flow is None else {**vars(self.flow), "bound": self.flow.bound}
        plain["pace"] = None if self.pace is None else vars(self.pace)
        summary: dict[str, Any] = finite({"schema": SCHEMA, **plain, "out": None if self.out is None else str(self.out)})
        return summary


def finite(value: Any) -> Any:
    """Return the value with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
