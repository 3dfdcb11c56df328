"""StepInBackward: step each parameter as soon as its gradient is complete.

The backward pass hands each gradient over and frees it, so that the gradients
of all parameters never exist at once.

Helps   models whose gradients (4 bytes per parameter) no longer fit, and whose
        activations are few, or recomputed.
Hurts   everything that needs all gradients before the first step: accumulation,
        clipping, a loss scale, several ranks. Each is refused by name.
Costs   a call of the optimiser's kernel for each parameter instead of one for
        all: noticeable on CUDA if parameters are small and many.
Source  https://docs.pytorch.org/tutorials/intermediate/optimizer_step_in_backward_tutorial.html
Exact   The same bits, and the same state of the optimiser, as with one step for
        all. A compiled model hands its gradients over together, which frees
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
from accel.parts.loss_output import LoggedMeans
from accel.parts.mean import WindowMean
from accel.parts.update import OWN_BACKWARD
from accel.system.clock import BACKWARD, FORWARD, UPDATE

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["StepInBackward"]


@dataclass(eq=False)
class StepInBackward(Update):
    """Update in which the optimiser steps inside the backward pass, parameter by parameter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hooks: list[RemovableHandle] = []
        self.is_stepping = False
        """Whether the backward pass of the update is under way."""
        self.found_inf: Tensor | None = None
        """1 if nothing may move in the update at hand, which has no items, else 0: 0-dim, on the device; None if it has some."""

    def setup(self, run: Run) -> None:
        super().setup(run)
        reason = self.find_conflict(run)
        if reason:
            raise ConfigError(f"step_in_backward has each gradient for itself, and {reason}")
        self.register_hooks()

    def follow_parameters(self, run: Run) -> None:
        super().follow_parameters(run)
        self.close()
        self.register_hooks()

    def register_hooks(self) -> None:
        """Let every parameter step when its gradient is complete."""
        params = [param for _, param in self.precision.params]
        frozen = [param for param in params if not param.requires_grad]
        for param in frozen:  # it may be unfrozen again, and torch lets no hook be registered on it now
            param.requires_grad_(True)
        self.hooks = [param.register_post_accumulate_grad_hook(self.step_parameter) for param in params]  # type: ignore[no-untyped-call]
        for param in frozen:
            param.requires_grad_(False)

    def find_conflict(self, run: Run) -> str:
        """Return the part that needs more than one gradient at a time, and the cure, in words; empty if no part does."""
        group, grads = run.parts.group, self.precision.gradients()
        overflow = any(number is not None for number in (grads.scale, grads.found_inf, self.precision.skipped))
        model_params = {id(param) for param in run.unwrapped_model.parameters()}
        masters = any(id(param) not in model_params for _, param in self.precision.params)
        for part, conflicts, reason in (
            (group, group.size > 1, f"adds up those of {group.size} micro-batches"),
            (self.parallel, self.parallel.world_size > 1, f"averages them over {self.parallel.world_size} ranks"),
            (self.guard, type(self.guard) is not Guard, "looks at all of them before the first step"),
            (self.clip, type(self.clip) is not Clip, "limits all of them together"),
            (self.precision, overflow, "skips an update when one of all overflows"),
            (self.precision, masters, "keeps copies of the weights, which the model's gradients must reach first"),
        ):
            if conflicts:
                return f"{part.name} {reason}; leave one out: '~plugins.{part.name}'"
        reason = self.optim.why_not_per_parameter()
        return f"{self.optim.name}: {reason}" if reason else ""

    def __call__(self, window: Window) -> Tensor:
        (micro,) = window.micros
        mean = WindowMean(self.parallel)
        with self.parallel.sync(last=True):
            with self.precision.cast():
                loss, items = self.parallel.call(self.objective, self.model, micro.batch)
            loss = self.pruning.penalised(loss)
            logged, weight = LoggedMeans(), mean.add(loss, items, micro)
            logged.add(self.objective.logged, weight, mean.empty is False)
            self.logged = logged.means(None)  # type: ignore[misc]
            self.lap(FORWARD)
            none = mean.normalise(Grads([], device=loss.device))
            none.found_inf = self.found_inf = none.empty
            self.objective.item_counts.count_empty(none.empty)
            if mean.empty is not True and (none.empty is None or self.optim.fused or not bool(mean.empty)):
                self.backward(loss, weight)  # in which every parameter steps
            self.lap(BACKWARD)
        self.quantisation.after_backward()
        self.average.update(none)
        self.precision.adapt(none)
        self.lap(UPDATE)
        return mean.loss

    def backward(self, loss: Tensor, weight: Tensor) -> None:
        """Run the backward pass, in which every parameter steps.

        Raises:
            ConfigError: if the backward pass needs a weight after that weight's own step.
        """
        self.is_stepping = True
        try:
            self.precision.backward(loss, weight)
        except RuntimeError as error:
            if "modified by an inplace operation" in str(error):
                raise ConfigError(
                    "step_in_backward: the backward pass needs a weight after its gradient is complete (detach() of a weight, "
                    "say); leave it out with '~plugins.step_in_backward'"
                ) from error
            raise
        finally:
            self.is_stepping = False

    def step_parameter(self, param: Tensor) -> None:
        """Step one parameter: called by the backward pass when its gradient is complete, a shared weight's too."""
        if not self.is_stepping:
            raise ConfigError(OWN_BACKWARD)
        if param.grad is not None and param.grad.is_sparse and not self.keeps_sparse:
            param.grad = param.grad.to_dense()
        self.optim.step_one(param, self.found_inf)
        increment_version(param)  # fused kernels do not count the write, which a later backward pass would miss
        param.grad = None

    def close(self) -> None:
        super().close()
        for hook in self.hooks:
            hook.remove()
        self.hooks = []
