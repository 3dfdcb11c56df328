"""Facts of one run, which all of its parts share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from accel.data.batches.bad_samples import RAISE, BadSampleLog, BadSampleRule
from accel.data.batches.base import PLAIN_BATCHES, Batches, BatchOptions
from accel.data.batches.counted import BY_STRUCTURE, SampleCounter
from accel.device.buffers import Buffers
from accel.device.rng import Randomness
from accel.errors import ConfigError
from accel.system.clock import Clock
from accel.system.deprecation.old_attributes import MovedAttribute
from accel.system.stop_signals import StopSignals

if TYPE_CHECKING:  # the one arrow back: parts are set up with a Run, and a Run holds its parts
    from accel.parts.all_parts import Parts, Watches

__all__ = ["UNLIMITED", "Progress", "Run", "metrics_of"]

UNLIMITED = 10**9
"""Number of epochs of a run that only something else ends."""


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
    stop_reason: str = ""
    """Why the run ends early, in words (`stop`)."""
    is_ending: bool = False
    """Whether all ranks know that the last update is the last one of the run, before its planned end."""
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
    """Metrics of each evaluation so far, with its `epoch`, from 1; within an epoch, a fraction of which is done, also `update`."""
    evaluation_split: str = "val"
    """Name of the evaluated data; empty if there are several sets, whose metrics are called `NAME/METRIC`."""
    evaluated: Callable[[dict[str, float]], Any] | None = None
    """Function of the user that is given the metrics at the end of each evaluation, and may add numbers; None for none."""
    metric_objects: list[Any] = field(default_factory=list)
    """Objects with update, compute and reset that `metrics` has returned so far."""
    task: Any = None
    """The user's task (`accel.engine.task.Task`), by a weak reference; None if only a model is looked at."""
    load_model: Callable[..., Any] | None = None
    """Loads the model of another run (`accel.engine.loading.other_run`), in `Objective.prepare`; None later."""
    command: str = ""
    """The command that started the run; empty in a script."""
    process: int = field(default_factory=os.getpid)
    """Number of the process that trains."""
    signals: StopSignals = field(default_factory=StopSignals)
    """Signals that may ask the run to stop."""
    plan: Any = None
    """The plan (`accel.engine.make_plan.Plan`), made when everything is set up."""
    restored: list[dict[str, Any]] = field(default_factory=list)
    """The structure that the user's model was given before any part saw it (`accel.parts.model_shape.model_structure`)."""
    user_state: Any = None
    """State of the user's own objects (`accel.checkpoints.user_state.UserState`), once the run is set up."""
    train: Batches = field(init=False)
    """The training data; set before any part from Group on is set up."""
    held_out_sets: dict[str, Batches] = field(default_factory=dict)
    """The data to evaluate on, by name."""
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

    @cached_property
    def saved_buffers(self) -> Buffers:
        """The model's buffers with the values to put back after a skipped update, the same object for all that skip one."""
        return Buffers(self.unwrapped_model)

    @property
    def updates_per_epoch(self) -> int | None:
        """Updates of an epoch, a short last window counted; None if the data does not tell."""
        return None if self.batches is None else -(-self.batches // self.parts.group.size)

    def bad_sample_logs(self) -> list[BadSampleLog]:
        """Return the logs of unreadable samples, of the training and of the held-out data."""
        return [log for batches in (self.train, *self.held_out_sets.values()) if (log := batches.bad_sample_log) is not None]

    @property
    def held_out(self) -> Batches | None:
        """The data to evaluate on, the first of several sets; None for no evaluation."""
        return next(iter(self.held_out_sets.values()), None)

    def tag(self, metric: str, separator: str) -> str:
        """Return the name of an evaluated metric with that of its data: `val/accuracy`, or `val_accuracy`."""
        return f"{self.evaluation_split}{separator}{metric}" if self.evaluation_split else metric.replace("/", separator, 1)

    def stop_if_requested(self, progress: Progress, before_evaluation: bool = False) -> None:
        """End the run here if a signal asked any rank to stop, saved as far as `progress`."""

    def stop(self, reason: str) -> None:
        """End the run after the update at hand: it is evaluated and saved, and `fit` returns. A resumed run has ended too.

        With several ranks, one asks and all stop, an update later, or with the epoch. It may be called in a watch, and through
        one in a loss, in `metrics` and `evaluated`, and in data that this process reads. What a trial asks for is not heard.

        Args:
            reason: why, in words, for the summary.

        Raises:
            ConfigError: for a reason that is no text, and in another process, such as one that reads data.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigError("run.stop(reason) needs a reason, in words")
        if os.getpid() != self.process:
            raise ConfigError(
                "run.stop(reason) was called in a process that reads data, and would end nothing; call it in a watch, the loss or "
                "metrics, or let this process read: without the plugin workers, and num_workers=0"
            )
        self.stop_reason = self.stop_reason or reason

    def length_state(self) -> dict[str, Any]:
        """Return what a resumed run needs to end when this one does, beside its progress."""
        return {"stopped": self.stop_reason} if self.stop_reason else {}

    def load_length_state(self, state: dict[str, Any]) -> None:
        """Load what `length_state` returned."""
        self.stop_reason = str(state.get("stopped", ""))
        self.is_ending = self.stop_reason != ""

    def train_mode(self, step: int | None = None) -> None:
        """Put the model into training mode, but for what is frozen in update `step`, from 0, and stands still; None is the next."""
        self.model.train()

    @property
    def position(self) -> dict[str, float]:
        """Where the run stands, for an evaluation: the epoch that ends, from 1; within one, a fraction of it, and the update."""
        step, epoch, batch = self.progress.step, self.progress.epoch, self.progress.batch
        if not batch:
            return {"epoch": epoch}
        return {"epoch": round(epoch + (min(batch / self.batches, 1.0) if self.batches else 0.0), 4), "update": step}

    @property
    def is_evaluated(self) -> bool:
        """Whether no evaluation of the last update is still to come: it has been made, or an epoch has ended without one."""
        return self.progress.batch == 0 or bool(self.last_evaluation)

    @property
    def last_evaluation(self) -> dict[str, float]:
        """Metrics of the evaluation just made; empty if there was none since the last update."""
        if not self.history or not self.progress.step:
            return {}
        last, position = self.history[-1], self.position
        now = last["update"] == self.progress.step if "update" in last else {"epoch": last.get("epoch")} == position
        return metrics_of(last) if now else {}

    def add_times(self, result: Any) -> None:
        """Add to a result how its time was spent: shares, pace, flow of data, the verdict, and the command that measures more."""

    def newest_finite(self) -> Path | None:
        """Return the newest checkpoint on the disk that is known to be finite; None if there is none."""
        return None

    def batch_norm_statistics(self, batches: int | None, epoch: int, step: int) -> dict[str, Tensor]:
        """Return BatchNorm's running statistics for the weights that the model has now, by the name of the buffer.

        They are estimated on training data, and nothing else moves. Every rank must call it.

        Args:
            batches: of the training data of each rank; None for all of an epoch.
            epoch: whose batches they are, from 0.
            step: number that all random numbers follow from, with the seed.
        """
        return {}

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


def metrics_of(row: dict[str, float]) -> dict[str, float]:
    """Return the metrics in a row of `Run.history`, without its position."""
    return {name: value for name, value in row.items() if name not in ("epoch", "update")}
