"""Forward and backward passes of an update, made again in float32 without what makes them faster, or with some of it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.stateless import _reparametrize_module

from accel.parts.loss_output import split_loss
from accel.parts.model import Compile, Layout
from accel.parts.part import Part
from accel.parts.precision import Precision
from accel.parts.run import Run
from accel.parts.shared.model_output import unpack_output
from accel.parts.shared.repeated.update_start import UpdateStart, widened

__all__ = ["plain_passes", "switchable_parts"]


def switchable_parts(run: Run) -> list[Part]:
    """Return the plugins that `plain_passes` can make the passes with or without, in the order in which they act."""
    parts = run.parts
    pairs: list[tuple[Part, type[Part]]] = [(parts.layout, Layout), (parts.compile, Compile), (parts.precision, Precision)]
    return [part for part, plainest in pairs if type(part) is not plainest]


def plain_passes(run: Run, start: UpdateStart, active: Collection[Part] = ()) -> tuple[Tensor, dict[str, Tensor]]:
    """Return mean loss and gradient of an update that a run has made, computed again. The run stays as it is, to the bit.

    Args:
        run: the run, of one process.
        start: the state that the update began with.
        active: those of `switchable_parts` that act here too.

    Returns:
        The loss, 0-dim; and the gradients by name of the parameter, in the dtype of `start.weights`.
    """
    precision = run.parts.precision
    leaves = _leaves(run, start, run.parts.layout in active)
    rest = {name: widened(param) for name, param in run.unwrapped_model.named_parameters() if name not in leaves}
    buffers = {name: buffer.clone() for name, buffer in start.buffers.items()}
    scale = getattr(precision, "scale", None) if precision in active else None
    total: Any = 0
    loss_sum: Any = 0.0
    sums: dict[str, Tensor] = {}
    stand_ins: Any = _reparametrize_module(run.unwrapped_model, {**rest, **leaves, **buffers}, tie_weights=True)
    with _as_it_began(run, start), _eager(run.parts.compile not in active), stand_ins:
        for micro in start.micros:
            with precision.cast() if precision in active else nullcontext():
                output = run.loss(run.unwrapped_model, micro.batch)
                loss, items, _ = split_loss(unpack_output(output, run.unwrapped_model, micro.batch))
            count = micro.samples if items is None or micro.samples == 0 else items
            if not isinstance(count, Tensor) and count == 0:
                continue
            grads = torch.autograd.grad(loss if scale is None else loss * scale, list(leaves.values()), allow_unused=True)
            for name, grad in zip(leaves, grads, strict=True):
                if grad is not None:
                    dense = (grad.to_dense() if grad.is_sparse else grad) * count
                    sums[name] = sums[name] + dense if name in sums else dense
            total, loss_sum = total + count, loss_sum + loss.detach() * count
    total = total if isinstance(total, Tensor) else total or 1  # a window without items has no gradients
    divisor = total if scale is None else total * scale
    return loss_sum / total, {name: grad / divisor for name, grad in sums.items()}


def _leaves(run: Run, start: UpdateStart, same_layout: bool) -> dict[str, Tensor]:
    """Return copies of the trained weights that gradients can be taken of, by name; in the memory format of the run if asked."""
    params: dict[str, nn.Parameter] = dict(run.unwrapped_model.named_parameters())
    leaves = {}
    for name, weight in start.weights.items():
        copy = torch.empty_like(params[name], dtype=weight.dtype).copy_(weight) if same_layout else weight.clone()
        leaves[name] = copy.requires_grad_()
    return leaves


@contextmanager
def _as_it_began(run: Run, start: UpdateStart) -> Iterator[None]:
    """Let random numbers and the user's own objects be inside as `start` has them; afterwards they are where they were."""
    with run.parts.prefetch.paused(), run.random.preserved(loaders=False):
        if run.user_state is not None:
            run.user_state.remember()
        run.random.restore(start.rng)
        try:
            yield
        finally:
            if run.user_state is not None:
                run.user_state.undo()


@contextmanager
def _eager(wanted: bool) -> Iterator[None]:
    """Let nothing run compiled inside, if that is wanted. torch's compiler is asked only if it has been imported."""
    if not wanted or "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
