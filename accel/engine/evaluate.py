"""How good the model is now."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from accel.data.batches.base import Batches
from accel.data.batches.counted import count_samples, counted
from accel.errors import ConfigError, describe
from accel.parts import Run

__all__ = ["evaluate", "means", "read", "scalar"]


def evaluate(run: Run, batches: Batches, metrics: Callable[[nn.Module, Any], Any]) -> dict[str, float]:
    """The metrics over all of `batches`, each a mean over its items, with the averaged weights where an average is kept.

    It leaves the run as it was: weights, mode and random numbers. Sums are kept on the device in float64, added up over the ranks
    and read once. Where a signal asks the run to stop, a run of one process looks at no further batch, and what is returned
    has no meaning; several ranks, which must look at as many batches each, look at all of them.

    Raises:
        ConfigError: for metrics that are no dict of numbers.
    """

    def measure(batch: Any) -> tuple[Mapping[str, Any], Any]:
        """The metrics of one batch, and how many items they are means over."""
        with run.parts.precision.cast():
            out = metrics(run.model, batch)
        values, items = out if isinstance(out, tuple) and len(out) == 2 else (out, None)
        if not isinstance(values, Mapping):
            raise ConfigError(f"metrics(model, batch) returned {describe(values)}; return a dict, or (dict, n_items)")
        return values, count_samples(batch) if items is None else items

    sums: dict[str, tuple[Tensor, Any]] = {}
    parts = run.parts
    with run.random.preserved(), torch.no_grad(), run.weights(), read(run, batches) as ahead:
        run.model.eval()
        for dealing in run.signals.interruptible(ahead) if parts.parallel.world_size == 1 else ahead:
            batch, count, _ = counted(dealing)
            for values, items in parts.update.measured(measure, parts.transfer.batch(batch)):
                items = items if count else 0  # a batch that only lets a rank take part weighs nothing
                for name, value in values.items():
                    part = scalar(name, value, run.device) * items
                    if isinstance(items, Tensor) or items == 0:  # the mean of nothing is NaN, and weighs nothing
                        part = torch.where(torch.as_tensor(items, device=part.device) == 0, 0.0, part)
                    before, total = sums.get(name, (0.0, 0))
                    sums[name] = before + part, total + items
        run.model.train()
        return means(sums, run)


def means(sums: dict[str, tuple[Tensor, Any]], run: Run) -> dict[str, float]:
    """Each sum over its items, of all ranks together."""
    if not sums:
        return {}
    flat = [torch.as_tensor(number, dtype=torch.float64, device=run.device) for pair in sums.values() for number in pair]
    read = iter(run.parts.parallel.sum(torch.stack([number.reshape(()) for number in flat])).tolist())
    return {name: value / total if total else float("nan") for name, value, total in zip(sums, read, read, strict=True)}


@contextmanager
def read(run: Run, batches: Batches) -> Iterator[Iterator[Any]]:
    """The batches as training reads them, ahead of their turn too; whoever stops early, or fails, ends the reading."""
    ahead = run.parts.prefetch.ahead(batches.counted(run.parts.loader.epoch(batches, 0, 0), 0))
    try:
        yield ahead
    finally:
        if isinstance(ahead, Generator):  # the traceback of an error may hold it
            ahead.close()


def scalar(name: str, value: Any, device: torch.device) -> Tensor:
    """One metric of one batch as a 0-dim float64. Raises ConfigError for what is no number."""
    if name == "epoch":
        raise ConfigError("metrics(model, batch) returned 'epoch', by which the results are numbered; call it something else")
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.detach().reshape(()).double()
    try:
        return torch.tensor(float(value), dtype=torch.float64, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"metrics(model, batch) returned {describe(value)} for {name!r}; return a number or a 0-dim tensor"
        ) from None
