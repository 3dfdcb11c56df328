"""Evaluation of the model on held-out data."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from accel.data.batches.base import Batches
from accel.data.batches.counted import counted
from accel.device.accelerators.float64 import wide_dtype
from accel.engine.evaluation.batch_metrics import BatchMetrics, Metrics
from accel.engine.evaluation.metric_objects import MetricObjects
from accel.engine.evaluation.model_backup import unmoved_model
from accel.engine.evaluation.scalars import add, scalar
from accel.errors import ConfigError, describe
from accel.parts import Run
from accel.parts.shared.item_counts import clean_count
from accel.parts.shared.ranks.equal_epochs import equal_epochs
from accel.parts.shared.ranks.rank_identity import compare_first_batch

__all__ = ["added", "evaluate", "evaluate_set", "means", "names_of_all_ranks", "over_all_ranks", "reading", "undisturbed"]


def evaluate(run: Run, metrics: Metrics, limit: int | None = None) -> dict[str, float]:
    """Return the metrics over all held-out data; of several sets they are called `NAME/METRIC`. See `evaluate_set`."""
    if len(run.held_out_sets) == 1:
        return evaluate_set(run, next(iter(run.held_out_sets.items())), metrics, limit)
    return {
        f"{split}/{name}": value
        for split, batches in run.held_out_sets.items()
        for name, value in evaluate_set(run, (split, batches), metrics, limit).items()
    }


def evaluate_set(run: Run, named: tuple[str, Batches], metrics: Metrics, limit: int | None = None) -> dict[str, float]:
    """Return the metrics over all of `batches`, each a mean over its items, with the averaged weights if an average is kept.

    The run stays as it was: weights, buffers, mode and random numbers. Sums are kept on the device in float64, added up over the
    ranks and read once. If a signal asks the run to stop, a run of one process looks at no further batch, and the result has
    no meaning; several ranks, which must look at as many batches each, look at all of them.

    Args:
        run: the run.
        named: the name of the data, and its batches.
        metrics: the user's function.
        limit: batches of each rank that are looked at; None for all.

    Raises:
        ConfigError: for metrics that are no dict of numbers, and for data that gives no batch.
    """
    sums: dict[str, tuple[Tensor, Any]] = {}
    bad: list[Tensor] = []
    (split, batches), parts, objects = named, run.parts, MetricObjects(run)
    measure = BatchMetrics(run, metrics, batches, objects)
    with (
        undisturbed(run), torch.no_grad(), run.weights(), unmoved_model(run.unwrapped_model), objects.in_use(),
        reading(run, batches) as batches_ahead, shaped_for_evaluation(run),
    ):  # fmt: skip
        run.model.eval()
        batches_ahead = equal_epochs(parts.parallel, batches, batches_ahead, lambda batch: counted(batch).global_samples, split)
        batches_ahead = islice(batches_ahead, limit)
        for next_batch in run.signals.interruptible(batches_ahead) if parts.parallel.world_size == 1 else batches_ahead:
            one = counted(next_batch)
            batch, weightless = measure.begin(one), one.samples == 0  # a batch that only lets a rank take part
            with objects.unmoved(weightless):
                measured = parts.update.measured(measure, batch)
            for values, items in measured:
                if isinstance(items, Tensor):
                    bad.append(clean_count(items)[1])
                add(sums, values, 0 if weightless else items, run.device, bad, weightless)
        parts.parallel.confirm()
        if not measure.outlines.batches and run.signals.requested is None:
            raise ConfigError(f"the {split} data gave no batch; it must have samples, and begin anew whenever it is iterated over")
        results = over_all_ranks(run, sums, bad, objects)
        run.train_mode()
        return results


def over_all_ranks(run: Run, sums: dict[str, tuple[Tensor, Any]], bad: list[Tensor], objects: MetricObjects) -> dict[str, float]:
    """Return the metrics of the sums and objects of one evaluation, and what the task adds to them. Every rank must call it."""
    names = names_of_all_ranks(run, [*sums, *objects.by_name])
    metrics = means({name: sums[name] for name in names if name in sums}, run, bad)
    metrics |= objects.compute([name for name in names if name in objects.by_name])
    return metrics | added(run, metrics)


def added(run: Run, metrics: dict[str, float]) -> dict[str, float]:
    """Return the numbers that the task's `evaluated(metrics)` adds. Every rank must call it.

    Raises:
        ConfigError: for what is no dict of numbers, and for other numbers on each rank.
    """
    if run.evaluated is None:
        return {}
    more = run.evaluated(dict(metrics))
    if more is not None and not isinstance(more, Mapping):
        raise ConfigError(f"evaluated(metrics) returned {describe(more)}; return a dict of numbers to add, or None")
    numbers = {str(name): float(scalar(str(name), value, run.device, "evaluated(metrics)")) for name, value in (more or {}).items()}
    if len({repr(each) for each in run.parts.parallel.gather(numbers)}) > 1:
        raise ConfigError(
            f"{run.parts.parallel.name}: evaluated(metrics) returned other numbers on each rank; gather what each has collected "
            "(torch.distributed.all_gather_object) before you compute them"
        )
    return numbers


def names_of_all_ranks(run: Run, names: list[str]) -> list[str]:
    """Return the names of the metrics in the first rank's order. Every rank must call it.

    Raises:
        ConfigError: on every rank, if they have measured other metrics.
    """
    parallel = run.parts.parallel
    ranks = parallel.gather(names)
    if all(set(each) == set(names) for each in ranks):
        return list(ranks[0])
    words = [f"{', '.join(each) or 'none'} on rank {rank}" for rank, each in enumerate(ranks)]
    raise ConfigError(
        f"{parallel.name}: metrics(model, batch) gave other metrics on each rank ({'; '.join(words)}); return all of them for "
        "every batch"
    )


def means(sums: dict[str, tuple[Tensor, Any]], run: Run, bad: list[Tensor]) -> dict[str, float]:
    """Return each sum over its items, of all ranks together. Read the device once.

    Args:
        sums: sum and number of items by name.
        run: the run.
        bad: whether a number of items, which only the device knows, was none; 0-dim each.

    Raises:
        ConfigError: if one was none.
    """
    if not sums:
        return {}
    wide = wide_dtype(run.device)
    flat = [sum(bad, torch.zeros((), dtype=wide, device=run.device))]
    flat += [torch.as_tensor(number, dtype=wide, device=run.device) for pair in sums.values() for number in pair]
    is_bad, *totals = run.parts.parallel.sum(torch.stack([number.reshape(()) for number in flat])).tolist()
    if is_bad:
        raise ConfigError(
            "metrics(model, batch), or the loss in its place, returned an n_items that is no number from 0 on, below 2**53 (one "
            "below 0, infinite or NaN); return a dict, or (dict, n_items)"
        )
    numbers = iter(totals)
    return {name: total / count if count else float("nan") for name, total, count in zip(sums, numbers, numbers, strict=True)}


@contextmanager
def undisturbed(run: Run) -> Iterator[None]:
    """Let the training data stay where it is, and random numbers too."""
    with run.parts.prefetch.paused(), run.random.preserved():
        yield


@contextmanager
def shaped_for_evaluation(run: Run) -> Iterator[None]:
    """Let every plugin that shapes the model have it in the form in which it is evaluated."""
    with ExitStack() as stack:
        for shape in run.parts.shapes().values():
            stack.enter_context(shape.evaluating(run))
        yield


@contextmanager
def reading(run: Run, batches: Batches, epoch: int = 0) -> Iterator[Iterator[Any]]:
    """Give the batches of an epoch as training reads them, ahead of their turn too; end the reading however the block is left."""
    batches_read = run.parts.loader.epoch(batches, epoch, 0)
    run.parts.parallel.confirm()
    compare_first_batch(run, batches)
    batches_ahead = run.parts.prefetch.ahead(batches.counted(batches_read, 0))
    try:
        yield batches_ahead
    finally:
        if isinstance(batches_ahead, Generator):  # the traceback of an error may hold it
            batches_ahead.close()
