"""OOM: an update that runs out of memory is done again in smaller micro-batches.

Everything that the failed passes moved is put back first: gradients, random
generators, BatchNorm's statistics. Each micro-batch is then cut in halves, and
these again, until the update fits; the size that fits stays for the rest of the
run, and is in its checkpoints. Effective batch and learning rate do not move.
Evaluation that runs out of memory goes on in smaller batches too.

Helps   a batch size that fits only nearly, texts or pictures of many sizes, a
        GPU that others use too: instead of ending, the run goes on.
Hurts   BatchNorm and losses over a whole batch (contrastive ones) see the smaller
        micro-batches, as with that batch_size. A model whose first dimension is
        not the samples would be cut in the wrong place.
Costs   a few microseconds per update for what may have to be put back, and a copy
        of the model's buffers; the micro-batches of a window stay on the device
        until its update is done. With several ranks each update waits on the
        host for all to say that they are well, and gradients travel after the
        last backward pass, not during it.
Source  Composer's `device_train_microbatch_size="auto"` had the idea.
Exact   One process: the same bits as a run with that batch_size and so many more
        micro-batches from the start, where it divides the batch. The plugin
        augment has drawn for the whole micro-batch before it is cut. What cannot
        be put back: counters in objects of your own, and numbers drawn from
        Python's generator or numpy's by a model that drew none in its first
        8 updates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from accel.data.batches.counted import count_samples
from accel.data.batches.structure import pieces
from accel.device.out_of_memory import free_cached_memory, is_out_of_memory, release_frames
from accel.device.step_snapshot import StepSnapshot
from accel.errors import AccelWarning, TrainingError
from accel.parts import Micro, Update, Window
from accel.parts.mean import WindowMean
from accel.parts.shared.independent_ranks import IndependentRanks
from accel.values import Whole

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["OOM", "TRY", "T", "samples"]

T = TypeVar("T")
TRY = "try the plugins recompute or amp, an optimiser that keeps less (sgd), or a smaller model"


@dataclass(eq=False)
class OOM(Update):
    """Updates that run out of memory are done again in smaller micro-batches.

    Args:
        grow_after: after so many updates in a row that fit, try micro-batches twice as large again; 0 is never.
    """

    grow_after: Whole = 0

    def identity(self) -> None:
        """A run that ended for want of memory may go on with it."""

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.bare, self.device, self.progress = run.unwrapped_model, run.device, run.progress
        self.ranks, self.before = IndependentRanks(run, self.name), StepSnapshot(run.unwrapped_model, run.device)
        self.is_distributed = self.ranks.is_distributed
        self.size = self.evaluating = 0
        """Samples per micro-batch at most, in training and in evaluation; 0 is as many as come."""
        self.well = self.times = 0
        """Updates since the size last changed, and how many did not fit."""

    def __call__(self, window: Window) -> Tensor:
        if self.grow_after and self.size and self.well >= self.grow_after:
            self.size, self.well = 2 * self.size, 0
        size, read, self.stuck = self.size, list[Micro](), ""
        rest = self.reading(window.micros, read)
        self.before.take()
        mean, short = self.attempt((), rest, window.samples)
        while short or self.is_distributed:
            reports = self.reports(short, read)
            if not any(report["short"] for report in reports):
                break
            self.undo()
            self.halve(reports)
            mean, short = self.attempt(tuple(read), rest, window.samples)
        self.before.discard()
        if self.size < size or (self.size and not size):
            self.tell("training", f"update {self.progress.step + 1}", self.size)
            self.times += 1
            self.well = 0
        self.well += 1
        return self.step(mean)

    def reading(self, micros: Iterable[Micro], read: list[Micro]) -> Iterator[Micro]:
        """The micro-batches, which can be read only once, as they come; from then on they are in `read`."""
        try:
            for micro in micros:
                read.append(micro)
                yield micro
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.stuck = f"a batch did not reach the device ({release_frames(error)}), and cannot be asked for again"

    def attempt(self, again: tuple[Micro, ...], rest: Iterator[Micro], items: int) -> tuple[WindowMean, str]:
        """The first half of an update of `items` samples; what was said where memory was short, and otherwise nothing."""
        mean = WindowMean(self.parallel, defer=self.is_distributed)
        try:
            self.collect(self.cut(chain(again, rest), items), mean)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            short = release_frames(error)
        else:
            short = self.stuck
        return mean, short

    def cut(self, micros: Iterable[Micro], items: int) -> Iterator[Micro]:
        """The micro-batches, or pieces of them. With several ranks none is the last: nothing travels before all are well."""
        for micro in micros:
            try:
                parts = micro.pieces(self.size or micro.samples, items)
            except TypeError as error:
                self.stuck = f"its batch cannot be cut ({error})"
                return
            yield from (part._replace(last=False) for part in parts) if self.is_distributed else parts

    def undo(self) -> None:
        """Puts back what the passes moved, and frees what they left."""
        for param in chain(self.bare.parameters(), (param for _, param in self.precision.params)):
            param.grad = None
        self.before.restore()
        free_cached_memory(self.device)

    def reports(self, short: str, read: list[Micro]) -> list[dict[str, Any]]:
        """How every rank fared, by rank; this one alone, where all are well."""
        largest = max((micro.samples for micro in read), default=1)
        mine = {"short": short, "stuck": self.stuck, "largest": min(largest, self.size or largest)}
        return self.ranks.exchange(mine, failed=bool(short))

    def halve(self, reports: list[dict[str, Any]]) -> None:
        """Halves the micro-batches, on all ranks alike. Raises TrainingError where that cannot help."""
        update = f"update {self.progress.step + 1}"
        ranks = [rank for rank, report in enumerate(reports) if report["short"]]
        where = f" on rank {ranks[0]}" if self.is_distributed else ""
        stuck = next((report["stuck"] for report in reports if report["stuck"]), "")
        if stuck:
            raise TrainingError(
                f"oom: memory is short in {update}{where}: {stuck}; set a smaller batch_size with the plugin accumulate, which is "
                "the same batch"
            )
        largest = max(report["largest"] for report in reports)
        if largest <= 1:
            raise TrainingError(
                f"oom: memory is short in {update}{where} even with one sample at a time ({reports[ranks[0]]['short']}); {TRY}"
            )
        self.size = (largest + 1) // 2

    def step(self, mean: WindowMean) -> Tensor:
        """The second half. Raises TrainingError where memory is short: its size does not depend on the micro-batches."""
        try:
            self.ranks.average_gradients()
            return self.move(mean)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            short = release_frames(error)
        first = ", where the optimiser takes the memory for its state" if self.progress.step == 0 else ""
        raise TrainingError(
            f"oom: memory is short in the optimiser's step of update {self.progress.step + 1}{first} ({short}); smaller "
            f"micro-batches cannot help there, and nothing of this update is saved; {TRY}"
        )

    def measured(self, measure: Callable[[Any], T], batch: Any) -> list[T]:
        """The same for one batch of the evaluation: in halves, where it does not fit. Each rank does so by itself."""
        items, before = count_samples(batch), self.evaluating
        while True:
            size = min(self.evaluating or items, items)
            try:
                parts = pieces(batch, items, size)
            except TypeError as error:
                raise TrainingError(f"oom: memory is short in evaluation, and its batch cannot be cut ({error})") from None
            try:
                found = [measure(part) for part in parts]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                short = release_frames(error)
            else:
                break
            free_cached_memory(self.device)
            if self.is_distributed and any(
                True for _ in self.bare.buffers()
            ):  # which the ranks send around before each forward pass
                raise TrainingError(
                    f"oom: memory is short in evaluation on rank {self.parallel.rank} ({short}), and ranks whose model has buffers "
                    "evaluate batches of one size; set a smaller batch_size with the plugin accumulate, which is the same batch"
                )
            if size <= 1:
                raise TrainingError(f"oom: memory is short in evaluation even with one sample at a time ({short}); {TRY}")
            self.evaluating = (size + 1) // 2
        if self.evaluating != before:
            self.tell("evaluation", "evaluation", self.evaluating)
        return found

    def tell(self, what: str, where: str, size: int) -> None:
        """One line, when it happens."""
        if self.parallel.rank == 0:
            said = f"oom: memory was short in {where}; from here on {what} takes at most {samples(size)} at a time"
            warnings.warn(said, AccelWarning, stacklevel=4)

    def capture_blocker(self) -> str:
        return "oom has to see on the host whether an update fits"

    def plan_notes(self) -> Mapping[str, str]:
        waits = "; gradients travel after the last backward pass, when all ranks are well" if self.is_distributed else ""
        return {"out of memory": f"the update is done again in smaller micro-batches{waits}"}

    def summary_notes(self) -> list[str]:
        found = []
        if self.times:
            times = f"{self.times} update{'s' * (self.times != 1)}"
            found.append(f"memory was short in {times}: from then on at most {samples(self.size)} at a time")
        if self.evaluating:
            found.append(f"memory was short in evaluation: batches of at most {samples(self.evaluating)}")
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.size, "evaluating": self.evaluating, "well": self.well, "times": self.times}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def samples(count: int) -> str:
    """`1 sample`, `8 samples`."""
    return f"{count} sample{'s' * (count != 1)}"
