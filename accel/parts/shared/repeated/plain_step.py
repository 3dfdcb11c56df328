"""The step of an update, made again on copies of the weights from other gradients."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from accel.parts.grads import Grads
from accel.parts.run import Run
from accel.parts.shared.repeated.update_start import UpdateStart

__all__ = ["plain_step"]


def plain_step(run: Run, start: UpdateStart, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the step that the optimiser of a run makes from these gradients, behind its clip, by name of the parameter.

    Clip and optimiser are made anew with their settings, and the optimiser is given its state of the start.

    Args:
        run: the run.
        start: the state that the update began with.
        gradients: true gradients by name, in the dtype of `start.weights`.

    Raises:
        ConfigError: if the optimiser cannot be made of the copies.
    """
    params = [(name, nn.Parameter(weight.clone())) for name, weight in start.weights.items()]
    for name, param in params:
        param.grad = gradients[name].clone() if name in gradients else None
    precision: Any = SimpleNamespace(params=params, parameters=lambda model: params, is_narrow=False)
    beside: Any = SimpleNamespace(
        parts=SimpleNamespace(precision=precision, rate=run.parts.rate, parallel=run.parts.parallel),
        unwrapped_model=run.unwrapped_model, device=run.device, progress=run.progress, updates=run.updates,
    )  # fmt: skip
    clip = type(run.parts.clip)(**run.parts.clip.settings)
    optim = type(run.parts.optim)(**run.parts.optim.settings)
    clip.setup(beside)
    optim.setup(beside)
    optim.load_state_dict(deepcopy(start.optim))
    with_gradient: list[Tensor] = [param for _, param in params if param.grad is not None]
    optim.step(clip.limit(Grads(with_gradient, device=run.device)))
    return {name: param.detach() - start.weights[name] for name, param in params}
