"""A small real training run, for comparing runs bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel.parts import Part, Run, Watch
from accel.schema import plugin_registry
from accel.system.deprecation.old_attributes import MovedAttribute
from accel.trainer import Trainer

__all__ = [
    "BATCH",
    "CHEAP",
    "CLASSES",
    "FEATURES",
    "SAMPLES",
    "Spy",
    "Stop",
    "Toy",
    "ToyResult",
    "cheap",
    "fit_toy",
    "moved_tensors",
    "toy_model",
    "toy_teacher",
]

SAMPLES, FEATURES, CLASSES, BATCH = 22, 6, 3, 4
"""6 batches an epoch, the last of 2: a short batch, and with a window of 4 a short window too."""


def toy_model(hidden: int = 16, dropout: float = 0.1) -> nn.Sequential:
    """Return two linear layers with normalisation and dropout between them."""
    ends = nn.Linear(FEATURES, hidden), nn.Linear(hidden, CLASSES)
    return nn.Sequential(ends[0], nn.LayerNorm(hidden), nn.ReLU(), nn.Dropout(dropout), ends[1])


def toy_teacher() -> nn.Sequential:
    """Return a wider model of the same kind, always with the same weights. No random number of the process is drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return toy_model(hidden=24)


CHEAP: dict[str, dict[str, Any]] = {
    "compile": {"backend": "eager"},
    "distill": {"teacher": toy_teacher()},
    "lr_range": {"updates": 12},
    "parity": {"every": 3},
    "profiler": {"updates": 1},
    "prune": {"mode": "weights", "steps": 2},
}
"""Settings of plugins whose defaults take long, act after more updates than a toy makes, or find nothing to do in a toy, whose
channels run through a LayerNorm: hundreds of toy runs prove each."""


def cheap(name: str) -> Callable[[], Part]:
    """Return a function that makes the plugin of that name with its default settings, or with cheap ones if those are slow."""
    plugin: Callable[..., Part] = plugin_registry.load(name)
    return partial(plugin, **CHEAP.get(name, {}))


class Stop(Exception):
    """The end of a toy run in the middle, as by a crash."""


@dataclass(eq=False)
class Spy(Watch):
    """A watch that remembers every loss, and the state of optimiser and average; it may stop the run, or count host reads.

    Args:
        stop: the update, from 1, after which the run is stopped; 0 for none.
        counts: count the host reads of the first epoch, and remember nothing.
    """

    stop: int = 0
    counts: bool = False
    toy: Any = field(default=None, init=False)

    def begin(self, run: Run) -> None:
        """Start with empty lists."""
        from accel.device.host_reads import HostReads

        if self.toy is not None:
            self.toy.calls = 0  # a trial before the run is no part of it
        self.run, self.losses, self.reads, self.states = run, list[Tensor](), HostReads(), list[list[Tensor]]()
        if self.counts:
            self.reads.__enter__()  # type: ignore[no-untyped-call]

    def after(self, step: int, loss: Tensor) -> None:
        """Remember the update, or count its host reads.

        Raises:
            Stop: after the update `stop`.
        """
        if self.counts:
            if step == (self.run.updates or 0) // self.run.epochs:  # the evaluation that follows may read
                self.reads.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            return
        self.losses.append(loss.clone())
        self.states.append(moved_tensors(self.run))
        if step == self.stop:
            raise Stop


def moved_tensors(run: Run) -> list[Tensor]:
    """Return copies of all tensors that an update moves: weights and their masters, the optimiser's state, the average."""
    optim_state = run.parts.optim.state_dict()
    states = [optim_state] if "state" in optim_state else optim_state.values()  # of each objective
    tensors = [
        *run.unwrapped_model.parameters(),
        *(param for _, param in run.parts.precision.params),
        *(
            value
            for state in states
            for entry in state["state"].values()
            if isinstance(entry, dict)
            for value in entry.values()
            if isinstance(value, Tensor)
        ),
    ]
    tensors += run.parts.average.state_dict().get("average", {}).values()
    return [tensor.detach().clone() for tensor in tensors]


@dataclass
class ToyResult:
    """The result of a toy run: weights, losses and metrics."""

    weights: list[Tensor]
    losses: list[Tensor]
    spy: Spy
    metrics: dict[str, float] = field(default_factory=dict)

    def equals(self, other: ToyResult) -> bool:
        """Return whether weights, losses and metrics agree to the last bit. An overflowed loss agrees with an overflowed one."""
        pairs = [*zip(self.weights, other.weights, strict=True), *zip(self.losses, other.losses, strict=True)]
        return self.metrics == other.metrics and all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)

    same = MovedAttribute("equals")

    def distance(self, other: ToyResult) -> float:
        """Return the largest difference between two weights."""
        return max(float((a - b).abs().max()) for a, b in zip(self.weights, other.weights, strict=True))


class Toy(Trainer):
    """A classifier with dropout on random points.

    Args:
        overflow: the updates, from 1, whose loss is infinite.
        dropout: the share of dropped units.
        **run: the settings of the run.
    """

    num_classes = CLASSES
    aside = ("overflow",)  # it counts the updates of one process

    def __init__(self, overflow: Sequence[int] = (), dropout: float = 0.1, **run: Any) -> None:
        super().__init__(**run)
        self.overflow, self.dropout = frozenset(overflow), dropout

    def model(self) -> nn.Module:
        """Return two linear layers with normalisation and dropout between them."""
        return toy_model(dropout=self.dropout)

    def data(self, split: str) -> TensorDataset:
        """Return the random points of a split, (22, 6) float32, and their classes, (22,) int64."""
        generator = torch.Generator().manual_seed(len(split))
        points = torch.randn(SAMPLES, FEATURES, generator=generator)
        return TensorDataset(points, (points @ torch.ones(FEATURES) > 0).long())

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the cross entropy, 0-dim, times infinity in the updates of `overflow`."""
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        if model.training:
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls in self.overflow:
                return loss * torch.inf
        return loss


def fit_toy(
    plugins: Sequence[Part | str],
    *,
    epochs: int = 2,
    batch_size: int = BATCH,
    out: Path | None = None,
    resume: Path | None = None,
    stop: int = 0,
    counts: bool = False,
    device: str = "cpu",
    kind: type[Toy] = Toy,
    **settings: Any,
) -> ToyResult:
    """Train the toy with `plugins` on a small real run.

    Args:
        plugins: instances, or names of plugins.
        epochs: passes over the 22 samples.
        batch_size: samples in a micro-batch.
        out: the run directory; None for none.
        resume: the run directory to resume from.
        stop: the update, from 1, after which the run ends as by a crash; 0 for none.
        counts: count the host reads of the first epoch, and remember nothing.
        device: of the run.
        kind: the task.
        **settings: of the run or of the toy.

    Returns:
        Weights, losses and metrics.
    """
    spy = Spy(stop=stop, counts=counts)
    instances = [cheap(plugin)() if isinstance(plugin, str) else plugin for plugin in plugins]
    trainer = kind(
        plugins=[*instances, spy], watch=(), epochs=epochs, batch_size=batch_size, seed=3, device=device, out=out, resume=resume,
        **settings,
    )  # fmt: skip
    spy.toy = trainer
    metrics: dict[str, float] = {}
    try:
        metrics = trainer.fit().metrics
    except Stop:
        assert stop
    weights = [param.detach().clone() for param in spy.run.unwrapped_model.parameters()]
    return ToyResult(weights, spy.losses, spy, metrics)
