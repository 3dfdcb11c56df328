"""What was found of an export, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from math import isfinite
from typing import Any, NamedTuple

from accel.errors import listed
from accel.export.proof.departure import Departure
from accel.export.proof.metric_drop import MetricDrop, metric_drop

__all__ = ["Allowance", "Latency", "Proof", "Spread", "TorchTime"]


class Allowance(NamedTuple):
    """The figures with which an export is right."""

    tolerance: float
    """Largest difference of an output, as a share of the largest output."""
    agreement: float
    """Smallest share of rows whose largest score is in the same place."""
    max_drop: float | None
    """Largest drop of the metric; None where it is not looked at."""


@dataclass(frozen=True)
class Spread:
    """Time of a call, in milliseconds, of the windows that it was taken in."""

    ms: float
    """Median."""
    ms_low: float
    """10th percentile; `ms_high` is the 90th."""
    ms_high: float


@dataclass(frozen=True)
class TorchTime(Spread):
    """Time of a call of the torch model, without what only training needs and with folded norms."""

    ratio: float
    """How many times faster the export is; `low` and `high` are the bounds at 99 %."""
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """Time of a call, by turns with the torch model, with as many threads."""

    batch: int
    """Samples of a call."""
    threads: int
    """Processor threads of a call, of each side."""
    rate: float
    """Samples that the export takes in a second."""
    export: Spread
    eager: TorchTime
    """Torch in eager mode."""
    compiled: TorchTime | None = None
    """Torch as inductor compiles the model; None if it was not timed."""


@dataclass(frozen=True)
class Proof:
    """An export beside the torch model that was evaluated, on held-out data."""

    split: str
    """Name of the data."""
    samples: int | None
    """How many there were; None if the data does not tell."""
    largest: float
    """Largest difference of an output."""
    share: float
    """The same as a share of the largest output."""
    mean: float
    """Mean difference."""
    place: str
    """The output with the largest difference."""
    agreement: float | None
    """Share of rows whose largest score is in the same place; None without scores."""
    metrics: dict[str, float]
    """Metrics of the torch model."""
    export_metrics: dict[str, float]
    """Metrics of the export."""
    tolerance: float
    """Largest `share` that is right."""
    least_agreement: float
    """Smallest `agreement` that is right."""
    bytes: int
    """Size of the files."""
    torch_bytes: int
    """Size of the weights of the torch model."""
    memory: int = 0
    """The most memory that the process with the engine had, in bytes; 0 if it is not known."""
    latency: list[Latency] = field(default_factory=list)
    uncompiled: str = ""
    """Why no compiled torch was timed, a clause; empty if it was, or was not asked for."""
    departure: Departure | None = None
    """The first layer that departs, where the largest difference is not right and the engine tells."""
    changed: list[str] = field(default_factory=list)
    """Files that are not those of the card."""
    max_drop: float | None = None
    """Largest drop of the metric that is right, as `metric_drop` has it; None where the drop is not asked for, as in float32."""
    rounds: bool = False
    """Whether the torch model rounds the inputs of layers to 8 bits itself."""
    other_classes: list[str] = field(default_factory=list)
    """Names of the classes on the card, where they are not those of the task."""
    other_names: list[str] = field(default_factory=list)
    """Names of the inputs and outputs on the card, where they are not those of the model."""

    @property
    def drop(self) -> MetricDrop | None:
        """How much worse the export is by the metrics; None where they do not tell."""
        return metric_drop(self.metrics, self.export_metrics)

    @property
    def problems(self) -> list[str]:
        """Why it does not hold, a clause with the figure each; none if it does."""
        problems = [f"{name} is not the file of card.json (another sha256)" for name in self.changed]
        if self.other_classes:
            named = ", ".join(self.other_classes[:3]) + ", ..." * (len(self.other_classes) > 3)
            problems.append(f"the classes of card.json ({named}) are not those of the task, in their order")
        if self.other_names:
            problems.append(f"the inputs and outputs of card.json ({listed(self.other_names, 4)}) are not named as the model's")
        if not self.share <= self.tolerance:
            allowed = f"{self.tolerance:g} is allowed"
            where = "" if self.departure is None else f"; {self.departure.sentence}"
            figure = f"the largest difference is {self.share:.2g} of the largest output, in {self.place}"
            problems.append(f"{figure}, and {allowed}{where}")
        if self.agreement is not None and self.agreement < self.least_agreement:
            asked = f"{100 * self.least_agreement:g} % is asked for"
            problems.append(f"the top class agrees in {100 * self.agreement:.2f} %, and {asked}")
        drop = self.drop
        if self.max_drop is not None and drop is not None and not drop.amount <= self.max_drop:
            allowed = f"max_drop={self.max_drop:g} is allowed"
            problems.append(f"{drop.metric.replace('_', ' ')} is worse by {drop.amount:.2f} {drop.unit}, and {allowed}")
        return problems

    @property
    def holds(self) -> bool:
        """Whether the export computes what was trained."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON holds it, numbers that are not finite as null."""
        drop = None if self.drop is None else self.drop._asdict()
        return {**_plain(vars(self) | {"drop": drop}), "problems": self.problems}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if is_dataclass(value):
        return _plain(vars(value))
    return None if isinstance(value, float) and not isfinite(value) else value
