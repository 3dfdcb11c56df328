"""StepInBackward: each parameter steps as soon as its gradient is complete.

The backward pass then hands each gradient over and frees it, so that the
gradients of all parameters never exist at once.

Helps   models whose gradients (4 bytes per parameter) are what no longer fits,
        and whose activations are few, or recomputed.
Hurts   whatever needs all gradients before the first step: accumulation,
        clipping, a loss scale, several ranks. Each of them is refused by name.
Costs   a call of the optimiser's kernel for each parameter instead of one for
        all: noticeable on CUDA where parameters are small and many.
Source  https://docs.pytorch.org/tutorials/intermediate/optimizer_step_in_backward_tutorial.html
Exact   The same bits, and the same state of the optimiser, as with one step for
        all. A compiled model hands its gradients over together; that frees
        nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from torch.autograd.graph import increment_version
from torch.utils.hooks import RemovableHandle

from accel.errors import ConfigError
from accel.parts import Clip, Grads, Guard, Update, Window
from accel.parts.mean import WindowMean
from accel.system.clock import BACKWARD, FORWARD, UPDATE

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["StepInBackward"]


@dataclass(eq=False)
class StepInBackward(Update):
    """The optimiser's step inside the backward pass, parameter by parameter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hooks: list[RemovableHandle] = []

    def setup(self, run: Run) -> None:
        super().setup(run)
        reason = self.conflict(run)
        if reason:
            raise ConfigError(f"step_in_backward has each gradient for itself, and {reason}")
        params = [param for _, param in self.precision.params]
        self.hooks = [param.register_post_accumulate_grad_hook(self.step) for param in params]  # type: ignore[no-untyped-call]

    def conflict(self, run: Run) -> str:
        """What in this run needs more than one gradient of one micro-batch at a time, and what to do; empty where nothing does."""
        group, grads = run.parts.group, self.precision.gradients()
        overflow = any(number is not None for number in (grads.scale, grads.found_inf, self.precision.skipped))
        ours = {id(param) for param in run.unwrapped_model.parameters()}
        masters = any(id(param) not in ours for _, param in self.precision.params)
        for part, clashes, does in (
            (group, group.size > 1, f"adds up those of {group.size} micro-batches"),
            (self.parallel, self.parallel.world_size > 1, f"averages them over {self.parallel.world_size} ranks"),
            (self.guard, type(self.guard) is not Guard, "looks at all of them before the first step"),
            (self.clip, type(self.clip) is not Clip, "limits all of them together"),
            (self.precision, overflow, "skips an update when one of all overflows"),
            (self.precision, masters, "keeps copies of the weights, which the model's gradients must reach first"),
        ):
            if clashes:
                return f"{part.name} {does}; leave one out: '~plugins.{part.name}'"
        together = self.optim.why_not_per_parameter()
        return f"{self.optim.name}: {together}" if together else ""

    def __call__(self, window: Window) -> Tensor:
        (micro,) = window.micros
        mean = WindowMean(self.parallel)
        with self.parallel.sync(last=True):
            with self.precision.cast():
                loss, items = self.objective(self.model, micro.batch)
            self.lap(FORWARD)
            self.backward(loss, mean.add(loss, items, micro))  # in which every parameter steps
            self.lap(BACKWARD)
        none = Grads([])
        self.average.update(none)
        self.precision.adapt(none)
        self.lap(UPDATE)
        return mean.loss

    def backward(self, loss: Tensor, weight: Tensor) -> None:
        """The backward pass; a weight that it still needs after its own step is an error that says so."""
        try:
            self.precision.backward(loss, weight)
        except RuntimeError as error:
            if "modified by an inplace operation" in str(error):
                raise ConfigError(
                    "step_in_backward: the backward pass needs a weight after its gradient is complete (detach() of a weight, "
                    "say); leave it out with '~plugins.step_in_backward'"
                ) from error
            raise

    def step(self, param: Tensor) -> None:
        """Called by the backward pass when the gradient of `param` is complete, shared weights' too."""
        self.optim.step_one(param)
        increment_version(param)  # fused kernels do not: a backward pass that reads it later would not notice
        param.grad = None

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.hooks = []
