"""One run: the parts chosen for it and the facts that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from accel.data.batches.bad_samples import RAISE, BadSampleRule
from accel.device.rng import Randomness
from accel.parts.input import Augment, Loader, Order, Prefetch, Source, Transfer
from accel.parts.model import Activations, Backend, Compile, Layout
from accel.parts.optim import Optim
from accel.parts.parallel import Parallel
from accel.parts.part import Part
from accel.parts.precision import Precision
from accel.parts.schedule import Rate, Schedule
from accel.parts.update import Average, Clip, Guard, Objective, Update
from accel.parts.watch import Probe, Watch
from accel.parts.window import Group
from accel.system.clock import Clock
from accel.system.stop_signals import StopSignals


@dataclass
class Parts:
    """One of each, in the order in which they are set up. Each default is the part's own plainest implementation."""

    backend: Backend = field(default_factory=Backend)
    source: Source = field(default_factory=Source)
    order: Order = field(default_factory=Order)
    loader: Loader = field(default_factory=Loader)
    prefetch: Prefetch = field(default_factory=Prefetch)
    group: Group = field(default_factory=Group)
    transfer: Transfer = field(default_factory=Transfer)
    layout: Layout = field(default_factory=Layout)
    compile: Compile = field(default_factory=Compile)
    activations: Activations = field(default_factory=Activations)
    parallel: Parallel = field(default_factory=Parallel)
    precision: Precision = field(default_factory=Precision)
    rate: Rate = field(default_factory=Rate)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    guard: Guard = field(default_factory=Guard)
    clip: Clip = field(default_factory=Clip)
    objective: Objective = field(default_factory=Objective)
    augment: Augment = field(default_factory=Augment)
    average: Average = field(default_factory=Average)
    update: Update = field(default_factory=Update)
    probe: Probe = field(default_factory=Probe)

    def all(self) -> list[Part]:
        """Every part, in order."""
        return list(vars(self).values())


@dataclass
class Progress:
    """How far the run is: what has been consumed, not what has been fetched."""

    step: int = 0
    """Updates done (windows consumed, skipped or not)."""
    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Micro-batches consumed in the current epoch."""
    samples: int = 0
    """Samples consumed in all."""


@dataclass
class Run:
    """What the parts are given in `setup`. `model` is wrapped step by step; `bare` stays the user's own."""

    parts: Parts
    unwrapped_model: nn.Module
    loss: Callable[[nn.Module, Any], Any]
    device: torch.device
    seed: int
    epochs: int
    batch_size: int
    """Samples per batch and rank; without effect where the data comes in ready batches."""
    batches: int | None = None
    """Batches per epoch and rank; None where the data does not tell."""
    uses_batch_size: bool = True
    """Whether batches have `batch_size` samples, or the data comes in ready ones."""
    orderable_samples: int | None = None
    """Samples per epoch, where their order is ours to choose; else None."""
    num_classes: int | None = None
    """Classes that a label may name; None where neither the task nor its data tells."""
    updates: int | None = None
    """Updates of the whole run; None where the data does not tell."""
    watches: list[Watch] = field(default_factory=list)
    out: Path | None = None
    """The run directory; None for a run that writes nothing, and until everything is set up."""
    bad_samples: BadSampleRule = RAISE
    """What becomes of samples that cannot be read."""
    has_run_directory: bool = True
    """Whether the user named a run directory (a dry run, which writes nothing, takes it that there is one)."""
    dry_run: bool = False
    """Whether nothing is to be written, whatever the plugins are told: a dry run."""
    clock: Clock = field(default_factory=Clock)
    progress: Progress = field(default_factory=Progress)
    history: list[dict[str, float]] = field(default_factory=list)
    """The metrics of each evaluation so far, with its `epoch`, from 1."""
    evaluation_split: str = "val"
    """What the evaluated data is called."""

    command: str = ""
    """How the run was started; empty in a script."""
    signals: StopSignals = field(default_factory=StopSignals)
    """What may ask the run to stop."""
    plan: Any = None
    """What is going to happen (`accel.engine.make_plan.Plan`), made when everything is set up."""

    def __post_init__(self) -> None:
        self.model = self.unwrapped_model
        self.random = Randomness(self.device)

    def newest_finite(self) -> Path | None:
        """The newest checkpoint that is proven finite, on the disk; None where there is none."""
        return None

    @contextmanager
    def weights(self) -> Iterator[None]:
        """Inside, the model has the weights to evaluate and to hand out; afterwards those to train on, bit for bit."""
        publish = self.parts.precision.publish
        try:
            with self.parts.optim.weights(), self.parts.average.weights(self.unwrapped_model):
                publish()
                yield
        finally:
            publish()
