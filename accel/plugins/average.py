"""Average: the mean of several snapshots of the weights, to evaluate and to keep.

With `last=5` it is the mean of the last 5 snapshots: checkpoint averaging. With
`last=null` and `start=0.75` it is that of all snapshots of the last quarter of
the run: stochastic weight averaging (SWA). A snapshot is taken at the end of
each epoch, or after every `every` updates. Until there is one, the weights
themselves are evaluated.

The statistics of BatchNorm are estimated anew for an average, on batches of the
training data, before it is evaluated or handed out. Those of the training are
left as they are.

Helps   final accuracy, most with a learning rate that stays high towards the
        end: the mean lies in the midst of the points that the weights wander to.
Hurts   runs whose learning rate falls to zero, where snapshots hardly differ;
        snapshots from so early that the loss between them is high.
Costs   `last` copies of the weights, in memory and in each checkpoint;
        `last=null` keeps their mean alone, in float32. One copy for each
        snapshot. With BatchNorm, a forward pass over `batch_norm` batches in
        the first evaluation after each snapshot, and the reading of them.
Source  Vaswani et al., Attention Is All You Need, arXiv 1706.03762 (the last 5
        or 20 checkpoints); Izmailov et al., Averaging Weights Leads to Wider
        Optima, arXiv 1803.05407. `torch.optim.swa_utils`.
Exact   Means are those of `AveragedModel`, statistics those of `update_bn` over
        the first batches of the epoch of the last snapshot; on a CPU to the bit. Of 16-bit
        weights they are computed in float32, and rounded to evaluate and to
        hand out. Evaluation changes no bit of the training. A snapshot does not
        count if all updates since the one before were skipped. With several
        ranks the statistics are the first rank's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor, nn

from accel.device.dtensor import real_shard
from accel.errors import ConfigError
from accel.optim.weight_mean import LastMean, WeightMean
from accel.parts import Average as AveragePart
from accel.parts import Grads, Optim, Replacement
from accel.parts.shared.batch_norms import batch_norms, with_buffers
from accel.values import Count, NonNegative, Whole

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Average"]


@dataclass(eq=False)
class Average(AveragePart):
    """Mean of several snapshots of the weights.

    Args:
        last: snapshots that are averaged, the newest ones; null averages all of them.
        every: updates between two snapshots; null takes one at the end of each epoch.
        start: part of the run without snapshots, at its beginning: below 1 a share of all updates, from 1 on a number of them.
        batch_norm: training batches on which BatchNorm's statistics are estimated anew; 0 is none, null a whole epoch.
    """

    last: Count | None = 5
    every: Count | None = None
    start: NonNegative = 0.0
    batch_norm: Whole | None = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follows_length = 0 < self.start < 1

    def setup(self, run: Run) -> None:
        self.run, self.progress, self.precision = ref(run), run.progress, run.parts.precision
        self.has_batch_norm = bool(batch_norms(run.unwrapped_model))
        self.first = self.first_update(run)
        self.check(run)
        self.replayed = False
        self.track()
        self.begin_anew()

    def first_update(self, run: Run) -> int:
        """Return the number of the update, from 1, after which the first snapshot may be taken.

        Raises:
            ConfigError: for a share of a run of unknown length.
        """
        if 0 < self.start < 1 and run.updates is None:
            share = f"average.start={self.start:g} is a share of the run"
            raise ConfigError(f"{share}, and its length is unknown; give a number of updates")
        return 1 + round(self.start * (run.updates or 0) if self.start < 1 else self.start)

    def check(self, run: Run) -> None:
        """Raise ConfigError for a run in which there is nothing to average, or no way to do so."""
        optims: list[Optim] = [*getattr(run.parts.optim, "members", {"": run.parts.optim}).values()]  # one for each objective
        if averaging := [optim.name for optim in optims if optim.averages]:
            raise ConfigError(f"plugins average and {averaging[0]} both average the weights; keep one: '~plugins.average'")
        if self.snapshots_of(run) == 0:
            what = "end of an epoch" if self.every is None else f"multiple of average.every={self.every:,}"
            after = f" after average.start={self.start:g}" if self.start else ""
            raise ConfigError(f"average finds no {what} in the run of {run.updates:,} updates{after}; set a smaller average.every")
        if self.batch_norm != 0 and self.has_batch_norm and not run.train.can_be_read_aside:
            raise ConfigError(
                "average estimates BatchNorm's statistics on training data, and this data cannot be read a second time while an "
                "epoch is under way; set average.batch_norm=0, which evaluates with those of the training"
            )

    def snapshots_of(self, run: Run) -> int | None:
        """Return how many snapshots the run takes; None if the data does not tell."""
        interval = run.updates_per_epoch if self.every is None else self.every
        if run.updates is None or interval is None:
            return None
        return sum(number >= self.first for number in range(interval, run.updates + 1, interval))

    def track(self) -> None:
        """Keep the parameters that are trained, and the shards of this process, which share their memory."""
        self.names = [name for name, _ in self.precision.params]
        self.params = [param for _, param in self.precision.params]
        self.tensors = [param.detach() for param in self.params]
        self.local_weights = list(map(real_shard, self.tensors))

    def replace_parameters(self, replacements: Sequence[Replacement]) -> None:
        places = {id(param): place for place, param in enumerate(self.params)}
        carried = {places[id(each.old)]: each for each in replacements if id(each.old) in places}
        for place, replacement in carried.items():
            self.params[place] = replacement.new
        self.kept.carry({place: replacement.carried for place, replacement in carried.items()})
        self.estimated_at = 0  # the norms have other channels
        self.statistics.clear()

    def follow_parameters(self, run: Run) -> None:
        places = {id(param): place for place, param in enumerate(self.params)}
        self.track()
        self.kept.follow([places.get(id(param)) for param in self.params], self.tensors)

    def begin_anew(self) -> None:
        """Forget all snapshots."""
        self.kept = WeightMean(self.tensors) if self.last is None else LastMean(self.tensors, self.last)
        self.still = torch.ones((), dtype=torch.float32, device=self.local_weights[0].device)
        """1 if no update has moved the weights since the last snapshot, 0-dim."""
        self.taken_at = self.taken_in = 0
        """The update after which the last snapshot was taken, and the epoch that was under way then, from 0."""
        self.estimated_at = 0
        self.statistics: dict[str, Tensor] = {}
        """BatchNorm's statistics by the name of the buffer, for the average up to the snapshot after update `estimated_at`."""

    def update(self, grads: Grads) -> None:
        if grads.found_inf is None:
            self.still.zero_()
        else:
            self.still.mul_(grads.found_inf)
        if not self.replayed:
            self.take_if_due(self.progress.step + 1)

    def end_epoch(self) -> None:
        if self.every is None and self.progress.step >= self.first:
            self.take(self.progress.step, self.progress.epoch)

    def take_if_due(self, step: int) -> None:
        """Take a snapshot if one is due after update number `step`, from 1: the one under way, or the last."""
        if self.every is not None and step % self.every == 0 and step >= self.first:
            has_ended = step == self.progress.step and self.progress.batch == 0  # with the epoch, which is counted as done
            self.take(step, self.progress.epoch - has_ended)

    def take(self, step: int, epoch: int) -> None:
        """Take a snapshot after update number `step`, unless it has been taken. `epoch` is under way, from 0."""
        if step == self.taken_at:
            return
        self.taken_at, self.taken_in = step, epoch
        self.kept.add(self.local_weights, self.still)
        self.still.fill_(1.0)

    @contextmanager
    def weights(self, model: nn.Module) -> Iterator[None]:
        if self.replayed:
            self.take_if_due(self.progress.step)
        mean = self.kept.mean()
        if mean.count == 0:  # waits for the device; no snapshot counts yet
            yield
            return
        saved = [weight.clone() for weight in self.local_weights]
        torch._foreach_copy_(self.local_weights, mean.local)
        try:
            with self.with_statistics(model):
                yield
        finally:
            torch._foreach_copy_(self.local_weights, saved)

    @contextmanager
    def with_statistics(self, model: nn.Module) -> Iterator[None]:
        """Give BatchNorm the statistics of the average, estimated once for each; afterwards its own, bit for bit."""
        run = self.run()
        if self.batch_norm != 0 and self.estimated_at != self.taken_at and run is not None:
            self.precision.publish()
            self.statistics = run.batch_norm_statistics(self.batch_norm, self.taken_in, self.taken_at)
            self.estimated_at = self.taken_at
        with with_buffers(model, self.statistics):
            yield

    def capture_blocker(self) -> str:
        return ""

    def to_device_scalars(self) -> None:
        self.replayed = True

    def before_replay(self) -> None:
        self.take_if_due(self.progress.step)  # of the update before: no Python runs in one that is replayed

    def plan_notes(self) -> Mapping[str, str]:
        size = sum(weight.nbytes for weight in self.local_weights)
        kept = "1 copy" if self.last is None else f"{self.last} cop{'y' if self.last == 1 else 'ies'}"
        what = "all snapshots" if self.last is None else f"the last {self.last} snapshots"
        when = "at the end of each epoch" if self.every is None else f"every {self.every:,} updates"
        begins = f" from update {self.first:,} on" if self.start else ""
        notes = {"average": f"of {what}, {when}{begins}; {kept} of {size / 1e6:,.1f} MB, in checkpoints too"}
        if self.has_batch_norm and self.batch_norm != 0:
            amount = "an epoch" if self.batch_norm is None else f"{self.batch_norm} batches"
            notes["BatchNorm"] = f"of an average, estimated anew on {amount} in the first evaluation after each snapshot"
        return notes

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.changed("batch_norm") and not self.has_batch_norm:
            return ["average.batch_norm has no effect: the model has no BatchNorm with running statistics"]
        return []

    def state_dict(self) -> dict[str, Any]:
        if self.replayed:
            self.take_if_due(self.progress.step)
        numbers = {"taken_at": self.taken_at, "taken_in": self.taken_in, "still": self.still}
        estimate = {"estimated_at": self.estimated_at, "statistics": self.statistics}
        return {**numbers, **estimate, **self.kept.state_dict(self.names)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.begin_anew()
        self.taken_at, self.taken_in = int(state["taken_at"]), int(state["taken_in"])
        self.still.copy_(state["still"])
        self.estimated_at = int(state["estimated_at"])
        self.statistics = {name: value.to(self.still.device, copy=True) for name, value in state["statistics"].items()}
        self.kept.load_state_dict(state, self.names)
