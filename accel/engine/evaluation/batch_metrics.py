"""Metrics of one batch in evaluation, with the number of items that they are means over."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from torch import nn

from accel.data.batches.base import Batches
from accel.data.batches.counted import CountedBatch
from accel.engine.evaluation.metric_objects import MetricObjects
from accel.parts import Run
from accel.parts.loss_output import split_metrics

__all__ = ["BatchMetrics", "Metrics", "Outlines"]

Metrics = Callable[[nn.Module, Any], Any]
"""`metrics(model, batch)`: a dict of means over the batch, `(sum, count)` pairs and metric objects, or `(dict, n_items)`."""


class Outlines:
    """Outlines of the batches of one evaluation, which tell whether numbers of samples that are guessed may be unequal."""

    def __init__(self) -> None:
        self.seen: set[Hashable] = set()
        self.doubt, self.batches = "", 0

    def add(self, batch: CountedBatch) -> None:
        """Add a batch."""
        self.doubt = self.doubt or batch.doubt
        self.seen.add(None if batch.unequal else batch.outline)
        self.batches += 1

    @property
    def are_unequal(self) -> bool:
        """Whether the weights of the batches are a guess."""
        return bool(self.doubt) and self.batches > 1 and (len(self.seen) > 1 or None in self.seen)


class BatchMetrics:
    """The user's `metrics`, called for one batch or for a piece of it.

    Args:
        run: the run.
        metrics: the user's function.
        batches: the data that the batches are of.
        objects: takes the metric objects among the results.
    """

    def __init__(self, run: Run, metrics: Metrics, batches: Batches, objects: MetricObjects) -> None:
        self.run, self.metrics, self.batches, self.objects = run, metrics, batches, objects
        self.outlines = Outlines()
        self.whole: Any = None
        self.samples = 0

    def begin(self, one: CountedBatch) -> Any:
        """Return a batch on the device, which is the next to be measured."""
        self.outlines.add(one)
        self.whole, self.samples = self.run.parts.transfer.batch(one.batch), one.samples
        return self.whole

    def __call__(self, batch: Any) -> tuple[Mapping[str, Any], Any]:
        """Return the metrics of the batch, or of a piece of it, and the number of items that they are means over."""
        parts = self.run.parts
        with parts.precision.cast():
            out = parts.parallel.call(self.metrics, self.run.model, batch)
        values, items = split_metrics(out)
        values = self.objects.take(values)
        if items is not None or all(isinstance(value, tuple) for value in values.values()):
            return values, 1 if items is None else items
        if self.outlines.are_unequal:
            parts.update.warn_of_count(self.outlines.doubt, self.samples)
        return values, self.samples if batch is self.whole else self.batches.counter.count_batch(batch).samples
