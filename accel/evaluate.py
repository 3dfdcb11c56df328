"""How good the model is now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from accel.data.batches import Batches
from accel.data.items import count_items
from accel.errors import ConfigError, describe
from accel.parts import Run


def evaluate(run: Run, batches: Batches, metrics: Callable[[nn.Module, Any], Any]) -> dict[str, float]:
    """The metrics over all of `batches`, each a mean over its items, with the averaged weights where an average is kept.

    It leaves the run as it was: weights, mode and random numbers. Sums are kept on the device in float64 and read once.
    """
    sums: dict[str, Tensor] = {}
    total: Any = 0
    devices = [run.device] if run.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad(), run.parts.average.weights(run.bare):
        run.model.eval()
        for batch in run.parts.loader.epoch(batches, 0, 0):
            batch = run.parts.transfer.batch(batch)
            with run.parts.precision.cast():
                out = metrics(run.model, batch)
            values, items = out if isinstance(out, tuple) and len(out) == 2 else (out, count_items(batch))
            if not isinstance(values, Mapping):
                raise ConfigError(f"metrics(model, batch) returned {describe(values)}; return a dict, or (dict, n_items)")
            total = total + items
            for name, value in values.items():
                weighted = scalar(name, value) * items
                sums[name] = sums[name] + weighted if name in sums else weighted
        run.model.train()
    return {name: float(value / total) for name, value in sums.items()}


def scalar(name: str, value: Any) -> Tensor:
    """One metric of one batch in float64, 0-dim. Raises ConfigError for what is no number."""
    try:
        return torch.as_tensor(value).detach().double().reshape(())
    except (TypeError, ValueError, RuntimeError):
        said = f"metrics(model, batch) returned {describe(value)} for {name!r}; return a number, the mean over the batch"
        raise ConfigError(said) from None
