"""One of each part: everything that a training step is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from accel.parts.input import Augment, Loader, Order, Prefetch, Source, Transfer
from accel.parts.model import Activations, Average, Backend, Compile, Layout
from accel.parts.model_shape.shape import Branches, Folding, Pruning, Quantisation, Shape
from accel.parts.optim import Optim
from accel.parts.parallel import Parallel
from accel.parts.part import Part
from accel.parts.precision import Precision
from accel.parts.schedule import Rate, Schedule
from accel.parts.update import Clip, Guard, Objective, Update
from accel.parts.watch import Probe, Stop, Watch
from accel.parts.window import Group

__all__ = ["Parts", "Watches"]


Watches = list[Watch]


@dataclass
class Parts:
    """One of each part, in the order in which they are set up. Each default is the part's own plainest implementation."""

    backend: Backend = field(default_factory=Backend)
    source: Source = field(default_factory=Source)
    order: Order = field(default_factory=Order)
    loader: Loader = field(default_factory=Loader)
    prefetch: Prefetch = field(default_factory=Prefetch)
    group: Group = field(default_factory=Group)
    transfer: Transfer = field(default_factory=Transfer)
    branches: Branches = field(default_factory=Branches)
    pruning: Pruning = field(default_factory=Pruning)
    folding: Folding = field(default_factory=Folding)
    quantisation: Quantisation = field(default_factory=Quantisation)
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
    stop: Stop = field(default_factory=Stop)
    probe: Probe = field(default_factory=Probe)

    def all(self) -> list[Part]:
        """Return every part, in order."""
        return list(vars(self).values())

    def shapes(self) -> dict[str, Shape]:
        """Return the parts that change the modules of the model, by their names here, in order."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Shape)}
