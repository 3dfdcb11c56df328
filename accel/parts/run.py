"""Facts of one run, which all of its parts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from accel.data.batches.bad_samples import RAISE, BadSampleLog, BadSampleRule
from accel.data.batches.base import PLAIN_BATCHES, Batches, BatchOptions
from accel.data.batches.counted import BY_STRUCTURE, SampleCounter
from accel.device.rng import Randomness
from accel.system.clock import Clock
from accel.system.deprecation.old_attributes import MovedAttribute
from accel.system.stop_signals import StopSignals

if TYPE_CHECKING:  # the one arrow back: parts are set up with a Run, and a Run holds its parts
    from accel.parts.all_parts import Parts, Watches

__all__ = ["Progress", "Run"]


@dataclass
class Progress:
    """How far a run is: what has been consumed, not what has been fetched."""

    step: int = 0
    """Updates done (windows consumed, skipped updates included)."""
    epoch: int = 0
    """Epochs done."""
    batch: int = 0
    """Micro-batches consumed in the current epoch."""
    samples: int = 0
    """Samples consumed in all."""


@dataclass
class Run:
    """The run that a part is given in `setup`. `model` is wrapped step by step; `unwrapped_model` stays the user's own."""

    parts: Parts
    unwrapped_model: nn.Module
    loss: Callable[[nn.Module, Any], Any]
    device: torch.device
    seed: int
    epochs: int
    batch_size: int
    """Samples per batch and rank; without effect if the data comes in ready batches."""
    batches: int | None = None
    """Batches per epoch and rank; None if the data does not tell."""
    uses_batch_size: bool = True
    """Whether batches are made here, of `batch_size` samples; else the data comes in ready batches."""
    orderable_samples: int | None = None
    """Samples per epoch, if their order is chosen here; else None."""
    num_classes: int | None = None
    """Classes that a label may name; None if neither the task nor its data tells."""
    updates: int | None = None
    """Updates of the whole run; None if the data does not tell."""
    watches: Watches = field(default_factory=list)
    out: Path | None = None
    """The run directory; None for a run that writes nothing, on ranks above 0, and until everything is set up."""
    bad_samples: BadSampleRule = RAISE
    """Rule for samples that cannot be read."""
    counter: SampleCounter = BY_STRUCTURE
    """Counter of the samples in a batch."""
    batch_options: BatchOptions = PLAIN_BATCHES
    """Settings of the user on how batches are made."""
    has_run_directory: bool = True
    """Whether the user named a run directory. A dry run, which writes nothing, behaves as if there were one."""
    updated: bool = False
    """Whether this process has made an update."""
    dry_run: bool = False
    """Whether nothing is written, whatever the plugins are told."""
    clock: Clock = field(default_factory=Clock)
    progress: Progress = field(default_factory=Progress)
    history: list[dict[str, float]] = field(default_factory=list)
    """Metrics of each evaluation so far, with its `epoch`, from 1."""
    evaluation_split: str = "val"
    """Name of the evaluated data."""
    evaluated: Callable[[dict[str, float]], Any] | None = None
    """Function of the user that is given the metrics at the end of each evaluation, and may add numbers; None for none."""
    metric_objects: list[Any] = field(default_factory=list)
    """Objects with update, compute and reset that `metrics` has returned so far."""

    command: str = ""
    """The command that started the run; empty in a script."""
    signals: StopSignals = field(default_factory=StopSignals)
    """Signals that may ask the run to stop."""
    plan: Any = None
    """The plan (`accel.engine.make_plan.Plan`), made when everything is set up."""
    user_state: Any = None
    """State of the user's own objects (`accel.checkpoints.user_state.UserState`), once the run is set up."""
    train: Batches = field(init=False)
    """The training data; set before any part from Group on is set up."""
    held_out: Batches | None = None
    """The data to evaluate on."""
    epoch_rng_state: dict[str, Any] = field(default_factory=dict)
    """State of the random generators at the beginning of the current epoch."""

    bare = MovedAttribute("unwrapped_model")
    ordered = MovedAttribute("orderable_samples")
    batched_here = MovedAttribute("uses_batch_size")
    split = MovedAttribute("evaluation_split")
    writes = MovedAttribute("has_run_directory")
    dry = MovedAttribute("dry_run")
    bad = MovedAttribute("bad_samples")
    proven = MovedAttribute("newest_finite")

    def __post_init__(self) -> None:
        self.model = self.unwrapped_model
        self.random = Randomness(self.device)

    def bad_sample_logs(self) -> list[BadSampleLog]:
        """Return the logs of unreadable samples, of the training and of the held-out data."""
        both = (self.train, self.held_out)
        return [batches.bad_sample_log for batches in both if batches is not None and batches.bad_sample_log is not None]

    def newest_finite(self) -> Path | None:
        """Return the newest checkpoint on the disk that is known to be finite; None if there is none."""
        return None

    @contextmanager
    def weights(self) -> Iterator[None]:
        """Give the model the weights to evaluate and to hand out; afterwards those to train on, bit for bit."""
        publish = self.parts.precision.publish
        try:
            with self.parts.optim.weights(), self.parts.average.weights(self.unwrapped_model):
                publish()
                yield
        finally:
            publish()
