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
from accel.trainer import Trainer

SAMPLES, FEATURES, CLASSES, BATCH = 22, 6, 3, 4
"""6 batches an epoch, the last of 2: a short batch, and with a window of 4 a short window too."""

CHEAP: dict[str, dict[str, Any]] = {"compile": {"backend": "eager"}, "lr_range": {"updates": 12}}
"""Settings of plugins whose defaults take long: hundreds of toy runs are to prove the plugin, not to wait for kernels."""


def cheap(name: str) -> Callable[[], Part]:
    """Makes the plugin of that name with its default settings, or with cheap ones where those take long."""
    plugin: Callable[..., Part] = plugin_registry.load(name)
    return partial(plugin, **CHEAP.get(name, {}))


class Stop(Exception):
    """Ends a toy run in the middle, as a crash would."""


@dataclass(eq=False)
class Spy(Watch):
    """Remembers every loss, and what stood in the optimiser and the average; may stop the run, or count host reads."""

    stop: int = 0
    counts: bool = False
    toy: Any = field(default=None, init=False)

    def begin(self, run: Run) -> None:
        from accel.device.host_reads import HostReads

        if self.toy is not None:
            self.toy.calls = 0  # those of a trial before the run are none of its own
        self.run, self.losses, self.reads, self.states = run, list[Tensor](), HostReads(), list[list[Tensor]]()
        if self.counts:
            self.reads.__enter__()  # type: ignore[no-untyped-call]

    def after(self, step: int, loss: Tensor) -> None:
        if self.counts:
            if step == (self.run.updates or 0) // self.run.epochs:  # the evaluation that follows may read
                self.reads.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            return
        self.losses.append(loss.clone())
        self.states.append(moved_tensors(self.run))
        if step == self.stop:
            raise Stop


def moved_tensors(run: Run) -> list[Tensor]:
    """Copies of everything that an update moves: weights and their masters, the optimiser's state, the average."""
    state = run.parts.optim.state_dict()["state"]
    tensors = [
        *run.unwrapped_model.parameters(),
        *(param for _, param in run.parts.precision.params),
        *(value for entry in state.values() for value in entry.values() if isinstance(value, Tensor)),
    ]
    tensors += run.parts.average.state_dict().get("average", {}).values()
    return [tensor.detach().clone() for tensor in tensors]


@dataclass
class ToyResult:
    """What a toy run came to."""

    weights: list[Tensor]
    losses: list[Tensor]
    spy: Spy
    metrics: dict[str, float] = field(default_factory=dict)

    def equals(self, other: ToyResult) -> bool:
        """Whether weights, losses and metrics agree to the last bit (an overflowed loss agrees with an overflowed one)."""
        pairs = [*zip(self.weights, other.weights, strict=True), *zip(self.losses, other.losses, strict=True)]
        return self.metrics == other.metrics and all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)

    def distance(self, other: ToyResult) -> float:
        """The largest difference between two weights."""
        return max(float((a - b).abs().max()) for a, b in zip(self.weights, other.weights, strict=True))


class Toy(Trainer):
    """A classifier with dropout on random points. `overflow` names updates, from 1, whose loss is infinite."""

    num_classes = CLASSES
    aside = ("overflow",)  # it counts the updates of one process

    def __init__(self, overflow: Sequence[int] = (), dropout: float = 0.1, **run: Any) -> None:
        super().__init__(**run)
        self.overflow, self.dropout = frozenset(overflow), dropout

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(FEATURES, 16), nn.LayerNorm(16), nn.ReLU(), nn.Dropout(self.dropout), nn.Linear(16, CLASSES))

    def data(self, split: str) -> TensorDataset:
        generator = torch.Generator().manual_seed(len(split))
        points = torch.randn(SAMPLES, FEATURES, generator=generator)
        return TensorDataset(points, (points @ torch.ones(FEATURES) > 0).long())

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
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
    **settings: Any,
) -> ToyResult:
    """Trains the toy with `plugins` and returns what it came to. `stop` ends it after that update, as a crash would."""
    spy = Spy(stop=stop, counts=counts)
    made = [cheap(plugin)() if isinstance(plugin, str) else plugin for plugin in plugins]
    trainer = Toy(
        plugins=[*made, spy], watch=(), epochs=epochs, batch_size=batch_size, seed=3, device=device, out=out, resume=resume,
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
