"""OOM: repeat an update that runs out of memory, in smaller micro-batches.

Everything that the failed passes moved is restored first: gradients, random
generators, BatchNorm's statistics. Each micro-batch is then cut in halves, and
the halves again, until the update fits. The size that fits stays for the rest
of the run, and is in its checkpoints. Effective batch and learning rate do not
change. Evaluation that runs out of memory goes on in smaller batches too.

Helps   a batch size that only nearly fits, texts or pictures of many sizes, a
        GPU that others use too. The run goes on instead of ending.
Hurts   BatchNorm, and losses over a whole batch (contrastive ones), see the
        smaller micro-batches, as with a smaller batch_size. A model whose first
        dimension is not the samples would be cut in the wrong place.
Costs   a few microseconds per update for the state that may have to be
        restored, and a copy of the model's buffers. The micro-batches of a
        window stay on the device until its update is done. With several ranks,
        each update waits on the host until all ranks report that theirs fits.
        Gradients then travel after the last backward pass, not during it.
Source  Composer's `device_train_microbatch_size="auto"` had the idea.
Exact   One process: the same bits as a run with the smaller batch_size and more
        micro-batches from the start, if that size divides the batch. The plugin
        augment has drawn for the whole micro-batch before it is cut. Counters
        in objects of your own are not restored. Neither are Python's and
        numpy's generators, if the model drew from them in none of its first 8
        updates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from accel.data.batches.counted import count_samples
from accel.data.batches.structure import split_batch
from accel.device.out_of_memory import free_cached_memory, is_out_of_memory, release_frames
from accel.device.step_snapshot import StepSnapshot
from accel.errors import TrainingError
from accel.parts import Micro, Update, Window
from accel.parts.mean import WindowMean
from accel.parts.shared.independent_ranks import IndependentRanks
from accel.values import Whole

if TYPE_CHECKING:
    from accel.parts import Run
from accel.system.call_stack import warn_user

__all__ = ["ADVICE", "OOM", "T", "count_text"]

T = TypeVar("T")
ADVICE = "try the plugins recompute or amp, an optimiser that keeps less (sgd), or a smaller model"


@dataclass(eq=False)
class OOM(Update):
    """Update that is repeated in smaller micro-batches when it runs out of memory.

    Args:
        grow_after: updates in a row that must fit before micro-batches twice as large are tried again; 0 for never.
    """

    grow_after: Whole = 0

    def identity(self) -> None:
        """Return None: a run that ended for want of memory may go on with this plugin."""

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.user_model, self.device, self.progress = run.unwrapped_model, run.device, run.progress
        self.ranks, self.snapshot = IndependentRanks(run, self.name), StepSnapshot(run.unwrapped_model, run.device)
        self.is_distributed = self.ranks.is_distributed
        self.size = self.evaluating = 0
        """Samples per micro-batch at most, in training and in evaluation; 0 for no limit."""
        self.well = self.times = 0
        """Updates since the size last changed, and updates that did not fit."""

    def __call__(self, window: Window) -> Tensor:
        if self.grow_after and self.size and self.well >= self.grow_after:
            self.size, self.well = 2 * self.size, 0
        size, read, self.blocker = self.size, list[Micro](), ""
        rest = self.read_micros(window.micros, read)
        self.snapshot.take()
        mean, error = self.attempt_passes((), rest, window.samples)
        while error or self.is_distributed:
            reports = self.gather_reports(error, read)
            if not any(report["error"] for report in reports):
                break
            self.rollback()
            self.halve_size(reports)
            mean, error = self.attempt_passes(tuple(read), rest, window.samples)
        self.snapshot.discard()
        if self.size < size or (self.size and not size):
            self.warn("training", f"update {self.progress.step + 1}", self.size)
            self.times += 1
            self.well = 0
        self.well += 1
        return self.apply_step(mean)

    def read_micros(self, micros: Iterable[Micro], read: list[Micro]) -> Iterator[Micro]:
        """Yield the micro-batches, which can be read only once, as they come, and append each to `read`."""
        try:
            for micro in micros:
                read.append(micro)
                yield micro
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.blocker = f"a batch did not reach the device ({release_frames(error)}), and cannot be asked for again"

    def attempt_passes(self, read: tuple[Micro, ...], rest: Iterator[Micro], items: int) -> tuple[WindowMean, str]:
        """Run the forward and backward passes of an update of `items` samples.

        Returns:
            The mean over the window, and the text of the error if memory was short; else an empty text.
        """
        mean = WindowMean(self.parallel, defer=self.is_distributed)
        try:
            self.collect(self.split_micros(chain(read, rest), items), mean)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = release_frames(error)
        else:
            message = self.blocker
        return mean, message

    def split_micros(self, micros: Iterable[Micro], items: int) -> Iterator[Micro]:
        """Yield the micro-batches, or pieces of them. With several ranks none is the last: no gradient travels before all fit."""
        for micro in micros:
            try:
                parts = micro.pieces(self.size or micro.samples, items)
            except TypeError as error:
                self.blocker = f"its batch cannot be cut ({error})"
                return
            yield from (part._replace(last=False) for part in parts) if self.is_distributed else parts

    def rollback(self) -> None:
        """Restore the state that the passes moved, and free the memory that they left."""
        for param in chain(self.user_model.parameters(), (param for _, param in self.precision.params)):
            param.grad = None
        self.snapshot.restore()
        free_cached_memory(self.device)

    def gather_reports(self, error: str, read: list[Micro]) -> list[dict[str, Any]]:
        """Return the report of each rank, in the order of ranks; this rank's alone if the update fits on all."""
        largest = max((micro.samples for micro in read), default=1)
        report = {"error": error, "blocker": self.blocker, "largest": min(largest, self.size or largest)}
        return self.ranks.exchange(report, failed=bool(error))

    def halve_size(self, reports: list[dict[str, Any]]) -> None:
        """Halve the micro-batches, on all ranks alike. Raise TrainingError if smaller ones cannot help."""
        update = f"update {self.progress.step + 1}"
        ranks = [rank for rank, report in enumerate(reports) if report["error"]]
        where = f" on rank {ranks[0]}" if self.is_distributed else ""
        blocker = next((report["blocker"] for report in reports if report["blocker"]), "")
        if blocker:
            raise TrainingError(
                f"oom: memory is short in {update}{where}: {blocker}; set a smaller batch_size with the plugin accumulate, which "
                "is the same batch"
            )
        largest = max(report["largest"] for report in reports)
        if largest <= 1:
            raise TrainingError(
                f"oom: memory is short in {update}{where} even with one sample at a time ({reports[ranks[0]]['error']}); {ADVICE}"
            )
        self.size = (largest + 1) // 2

    def apply_step(self, mean: WindowMean) -> Tensor:
        """Move the weights. Raise TrainingError if memory is short: smaller micro-batches would need as much."""
        try:
            self.ranks.average_gradients()
            return self.move(mean)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = release_frames(error)
        first = ", where the optimiser takes the memory for its state" if self.progress.step == 0 else ""
        raise TrainingError(
            f"oom: memory is short in the optimiser's step of update {self.progress.step + 1}{first} ({message}); smaller "
            f"micro-batches cannot help there, and nothing of this update is saved; {ADVICE}"
        )

    def measured(self, measure: Callable[[Any], T], batch: Any) -> list[T]:
        """Measure one batch of the evaluation, in halves if it does not fit. Each rank does so by itself."""
        items, before = count_samples(batch), self.evaluating
        while True:
            size = min(self.evaluating or items, items)
            try:
                parts = split_batch(batch, items, size)
            except TypeError as error:
                raise TrainingError(f"oom: memory is short in evaluation, and its batch cannot be cut ({error})") from None
            try:
                results = [measure(part) for part in parts]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                message = release_frames(error)
            else:
                break
            free_cached_memory(self.device)
            if self.is_distributed and any(True for _ in self.user_model.buffers()):  # ranks exchange buffers in each pass
                raise TrainingError(
                    f"oom: memory is short in evaluation on rank {self.parallel.rank} ({message}), and ranks whose model has "
                    "buffers evaluate batches of one size; set a smaller batch_size with the plugin accumulate, which is the "
                    "same batch"
                )
            if size <= 1:
                raise TrainingError(f"oom: memory is short in evaluation even with one sample at a time ({message}); {ADVICE}")
            self.evaluating = (size + 1) // 2
        if self.evaluating != before:
            self.warn("evaluation", "evaluation", self.evaluating)
        return results

    def warn(self, phase: str, where: str, size: int) -> None:
        """Warn, on the first rank, that a phase of the run goes on in smaller batches."""
        if self.parallel.rank == 0:
            message = f"oom: memory was short in {where}; from here on {phase} takes at most {count_text(size)} at a time"
            warn_user(message)

    def capture_blocker(self) -> str:
        return "oom has to see on the host whether an update fits"

    def plan_notes(self) -> Mapping[str, str]:
        waits = "; gradients travel after the last backward pass, when all ranks are well" if self.is_distributed else ""
        return {"out of memory": f"the update is done again in smaller micro-batches{waits}"}

    def summary_notes(self) -> list[str]:
        notes = []
        if self.times:
            times = f"{self.times} update{'s' * (self.times != 1)}"
            notes.append(f"memory was short in {times}: from then on at most {count_text(self.size)} at a time")
        if self.evaluating:
            notes.append(f"memory was short in evaluation: batches of at most {count_text(self.evaluating)}")
        return notes

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.size, "evaluating": self.evaluating, "well": self.well, "times": self.times}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def count_text(count: int) -> str:
    """Return `1 sample`, `8 samples`."""
    return f"{count} sample{'s' * (count != 1)}"
