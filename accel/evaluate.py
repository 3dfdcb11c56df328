"""How good the model is now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from accel.data.batches import Batches
from accel.data.items import count_items
from accel.parts import Run


def evaluate(run: Run, batches: Batches, metrics: Callable[[nn.Module, Any], Any]) -> dict[str, float]:
    """The metrics over all of `batches`, each a mean over its items, with the averaged weights where an average is kept.

    It leaves the run as it was: weights, mode and random numbers. Sums are kept on the device in float64 and read once.
    """
    sums: dict[str, Tensor] = {}
    total: Any = 0
    with run.random.kept(), torch.no_grad(), run.parts.average.weights(run.bare):
        run.model.eval()
        for batch in run.parts.loader.epoch(batches, 0, 0):
            batch = run.parts.transfer.batch(batch)
            with run.parts.precision.cast():
                out = metrics(run.model, batch)
            values, items = out if isinstance(out, tuple) else (out, count_items(batch))
            total = total + items
            for name, value in values.items():
                value = torch.as_tensor(value).detach().double() * items
                sums[name] = sums[name] + value if name in sums else value
        run.model.train()
    return {name: float(value / total) for name, value in sums.items()}
