"""The weights that an evaluation sees, as they are handed out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from accel.checkpoints.weights.weight_names import plain_state
from accel.parts import Run

__all__ = ["evaluated_weights"]


@contextmanager
def evaluated_weights(run: Run) -> Iterator[dict[str, Any]]:
    """Give the model the weights to evaluate, and yield its state by name: the run's own tensors, whole on every rank that writes.

    They are the averaged ones if an average is kept, and masters instead of what is rounded from them. Every rank must call it.
    """
    with run.weights():
        state = run.unwrapped_model.state_dict(keep_vars=True)
        unrounded = run.parts.precision.unrounded
        state = {name: unrounded(value).detach() if isinstance(value, Tensor) else value for name, value in state.items()}
        yield plain_state(run.unwrapped_model, run.parts.parallel.whole_state(state))
