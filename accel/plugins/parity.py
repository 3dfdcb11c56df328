"""Parity: a watch that makes updates again in float32 with the plainest parts, and compares them layer by layer.

Every `every`-th update is made a second time, from the same state and on the
same batches: without 16-bit products, compiled code, or another memory format.
Compared are the loss, the gradient of each layer, and the step that optimiser
and clip make of it. If layers are further away than the rounding of the plugins
explains, the first one of the model is named, in a warning or an error.
`bisect` turns the plugins on again one after the other in that repetition, and
names the one that brings the difference.

Helps   trusting amp, compile or a plugin of your own: a fault that only makes
        the training worse is seen in its first updates, with its layer.
Hurts   nothing but the updates that it looks at.
Costs   on these, copies of the weights (three), the gradients (two) and the
        optimiser's state, and the passes of an update in float32. On CUDA the
        distances are read some updates later, so that the host does not wait.
        With `bisect` a few more passes, once. Nothing in all others.
Source  `torch.func.functional_call`, with whose means the copies stand in for
        the weights.
Exact   The run is to the bit what it is without it. The distance of a layer is
        the norm of the difference over that of its gradient in float32, which
        counts as a thousandth of the whole gradient at least. TensorFloat-32
        stays as the run has it. Updates that were skipped are not compared, and
        the user's loss is called once more in those that are. Clip and optimiser
        are made anew for it: a fault of their formulas is in both steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import proxy

import torch
from torch import Tensor

from accel.device.async_readback import AsyncReadback
from accel.device.dtensor import is_dtensor
from accel.errors import ConfigError, TrainingError
from accel.parts import Grads, Micro, Part, Watch
from accel.parts.shared.repeated.layer_distances import Distances, layer_distances
from accel.parts.shared.repeated.plain_passes import plain_passes, switchable_parts
from accel.parts.shared.repeated.plain_step import plain_step
from accel.parts.shared.repeated.update_start import UpdateStart
from accel.report.result import Section
from accel.system.call_stack import warn_user
from accel.values import Count, Positive

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["ROUNDING", "STEPS", "Parity"]

ROUNDING = 1e-3
"""Distance of a gradient that another order of sums in float32 explains."""
STEPS = 10.0
"""How many times further a step may be away than its gradient: Adam makes long steps of short gradients."""


class Comparison(NamedTuple):
    """An update that was made again, and its distances, which are on their way to the host.

    Args:
        step: the update, from 1.
        start: its state at the start, to look for the plugin; None if nobody looks.
        readback: the distances: of the loss, of the gradients and of the steps.
        gradients: whose distances those of the gradients are.
        steps: whose those of the steps are.
    """

    step: int
    start: UpdateStart | None
    readback: AsyncReadback
    gradients: Distances
    steps: Distances


@dataclass(eq=False)
class Parity(Watch):
    """Watch that compares updates with the same ones made in float32 by the plainest parts.

    Args:
        every: updates between two that are compared.
        tolerance: distance of a layer's gradient that is too far; null for what the plugins declare, 0.001 at least.
        bisect: find the plugin that brings a difference.
        action: warn goes on; raise ends the run.
    """

    every: Count = 100
    tolerance: Positive | None = None
    bisect: bool = False
    action: Literal["warn", "raise"] = "warn"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.start: UpdateStart | None = None
        """The state of the update under way, if it is one to compare."""
        self.rows: list[dict[str, str | int | float]] = []
        self.named: set[str] = set()
        """Layers that were named already."""
        self.skipped = 0
        self.pending: Comparison | None = None
        self.update_part: Any = None

    def setup(self, run: Run) -> None:
        update, parallel = run.parts.update, run.parts.parallel
        if update.name == "step_in_backward":
            raise ConfigError("parity looks at all gradients together, and step_in_backward has each for itself; leave one out")
        if hasattr(update, "make_recorder"):
            raise ConfigError(f"parity makes updates again, which a graph of {update.name} cannot capture; leave one out")
        if hasattr(update, "objectives_identity"):
            raise ConfigError("parity compares the update of one loss, and this task has objectives; leave parity out")
        if parallel.world_size > 1 or any(is_dtensor(param) for _, param in run.parts.precision.params):
            raise ConfigError(
                f"parity compares updates of one process with whole weights, and {parallel.name} has others; leave one out"
            )
        self.limit = self.tolerance or ROUNDING + sum(part.rounding() for part in run.parts.all())

    def begin(self, run: Run) -> None:
        self.run: Run = proxy(run)  # the run holds this watch
        self.update_part = run.parts.update
        collect = self.update_part.collect
        self.update_part.collect = lambda micros, mean: self.collect(collect, micros, mean)

    def collect(self, collect: Callable[[Iterable[Micro], Any], None], micros: Iterable[Micro], mean: Any) -> None:
        """Make the passes of an update, and remember its start if it is to be compared."""
        if (self.run.progress.step + 1) % self.every == 0:
            micros = tuple(micros)
            self.start = UpdateStart.of(self.run, micros)
        collect(micros, mean)

    def before_step(self, grads: Grads) -> None:
        """Copy the true gradients, if this update is to be compared."""
        if self.start is not None:
            names = {id(param): name for name, param in self.run.parts.precision.params}
            pairs = [(names[id(param)], param.grad) for param in grads.params if param.grad is not None]
            wide = {name: grad.detach().to(self.start.weights[name].dtype, copy=True) for name, grad in pairs}
            self.gradients = wide if grads.scale is None else {name: grad / grads.scale for name, grad in wide.items()}

    def after_step(self) -> dict[str, Any]:
        """Copy the step, if this update is to be compared. Return no numbers."""
        if self.start is not None:
            weights = self.start.weights
            self.steps = {
                name: param.detach().to(weights[name].dtype) - weights[name] for name, param in self.run.parts.precision.params
            }
        return {}

    def after(self, step: int, loss: Tensor) -> None:
        self.read(wait=self.start is not None)
        if self.start is None:
            return
        start, self.start = self.start, None
        plain_loss, gradients = plain_passes(self.run, start)
        by_gradient = layer_distances(self.gradients, gradients)
        by_step = layer_distances(self.steps, plain_step(self.run, start, gradients))
        loss_distance = (loss - plain_loss).abs() / plain_loss.abs().clamp(min=1e-6)
        readback = AsyncReadback(1 + len(by_gradient.layers) + len(by_step.layers), loss.device)
        torch.cat([loss_distance.float().reshape(1), by_gradient.numbers, by_step.numbers], out=readback.row)
        readback.start()
        self.pending = Comparison(step, start if self.bisect else None, readback, by_gradient, by_step)
        self.gradients, self.steps = {}, {}
        self.read(wait=False)

    def read(self, wait: bool) -> None:
        """Judge the last compared update once its numbers have come, or wait for them."""
        numbers = None if self.pending is None else self.pending.readback.poll(wait)
        if self.pending is None or numbers is None:
            return
        done, self.pending = self.pending, None
        cut = 1 + len(done.gradients.layers)
        if all(number == number and number < float("inf") for number in numbers):
            self.judge(done.step, done.start, numbers[0], done.gradients.named(numbers[1:cut]), done.steps.named(numbers[cut:]))
        else:
            self.skipped += 1

    def judge(
        self, step: int, start: UpdateStart | None, loss: float, gradients: dict[str, float], steps: dict[str, float]
    ) -> None:
        """Keep the distances of an update, and name the first layer that is too far away.

        Raises:
            TrainingError: with action=raise.
        """
        worst = max(gradients, key=gradients.__getitem__, default="")
        self.rows.append({
            "update": step, "loss percent": 100 * loss, "layer": worst, "gradient percent": 100 * gradients.get(worst, 0.0),
            "step percent": 100 * max(steps.values(), default=0.0),
        })  # fmt: skip
        whole = {"the whole model": loss}
        kinds = (("gradient", gradients, self.limit), ("step", steps, STEPS * self.limit), ("loss", whole, self.limit))
        far = ((*kind, layer) for kind in kinds for layer, distance in kind[1].items() if distance > kind[2])
        kind, distances, limit, layer = next(far, ("", whole, 0.0, ""))
        if not layer or (layer in self.named and self.action == "warn"):
            return
        self.named.add(layer)
        cause = f"; {self.culprit(start, kind)}" if start is not None else "; parity.bisect=true finds the plugin"
        sentence = (
            f"parity: in update {step} the {kind} of {layer} is {distances[layer]:.2%} away from float32 with the plainest parts, "
            f"and rounding explains {limit:.2%}{cause}"
        )
        if self.action == "raise":
            raise TrainingError(sentence)
        warn_user(sentence)

    def culprit(self, start: UpdateStart, kind: str) -> str:
        """Return which plugin brings the difference, in words: the first with which the repeated update differs as well."""
        parts = switchable_parts(self.run)
        others = [part.name for part in (self.run.parts.activations, self.run.parts.update) if Part not in type(part).__bases__]
        if kind == "step":
            return f"the gradients agree, so it is {self.run.parts.optim.name} or {self.run.parts.clip.name}"
        plain = plain_passes(self.run, start)[1]
        low, high = 0, len(parts)
        if not parts or not self.differs(start, plain, parts):
            return f"no plugin of products or layout brings it; look at {' and '.join(others) or 'what hangs on the weights'}"
        while high - low > 1:  # the first `high` of them bring it, the first `low` do not
            middle = (low + high) // 2
            low, high = (low, middle) if self.differs(start, plain, parts[:middle]) else (middle, high)
        return f"{parts[high - 1].name} brings it"

    def differs(self, start: UpdateStart, plain: dict[str, Tensor], active: Collection[Part]) -> bool:
        """Return whether the repeated update with these plugins is further away from the plain one than it may be."""
        distances = layer_distances(plain_passes(self.run, start, active)[1], plain)
        return bool((distances.numbers > self.limit).any())

    def ineffective_settings(self, run: Run) -> list[str]:
        if run.updates is not None and self.every > run.updates:
            return [f"parity sees nothing: parity.every={self.every}, and the whole run has {run.updates} updates"]
        return []

    def summary_notes(self) -> list[str]:
        return [f"parity: {self.skipped} updates were skipped and not compared"] if self.skipped else []

    def end(self, result: Any) -> None:
        self.read(wait=True)
        if self.rows:
            title = f"distance from float32 with the plainest parts ({len(self.rows)} updates; rounding explains {self.limit:.2%})"
            result.sections[self.name] = Section(title, self.rows)

    def close(self) -> None:
        if self.update_part is not None:
            vars(self.update_part).pop("collect", None)
            self.update_part, self.start, self.pending = None, None, None
