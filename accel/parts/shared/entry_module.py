"""Module around the user's model through which a loss is computed, so that torch's hooks see all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

__all__ = ["Computation", "EntryModule", "Outcome", "compute_inside"]

Outcome = TypeVar("Outcome")


class Computation:
    """A function of the model that is computed inside the forward pass of the module around it. `outcome` is what it returned.

    Args:
        function: `function(model, batch)`.
        batch: its second argument.
    """

    def __init__(self, function: Callable[[nn.Module, Any], Any], batch: Any) -> None:
        self.function, self.batch = function, batch
        self.outcome: Any = None

    def run(self, model: nn.Module) -> Tensor | None:
        """Compute the function. Return the loss in its outcome, a tensor with a gradient; None if it has none."""
        self.outcome = self.function(model, self.batch)
        loss = self.outcome[0] if isinstance(self.outcome, tuple) and self.outcome else self.outcome
        return loss if isinstance(loss, Tensor) and loss.requires_grad else None


class EntryModule(nn.Module):
    """The user's model with one more way in: a `Computation`, which is given the model itself.

    A loss may then use attributes, methods and parts of the model, and need not call it. Wrappers of torch, which prepare the
    backward pass in their own forward method, are put around this module.

    Args:
        model: the user's model.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the loss of the computation that is the one argument; for any other input what the model returns."""
        if len(args) == 1 and isinstance(args[0], Computation):
            return args[0].run(self.model)
        return self.model(*args, **kwargs)


def compute_inside(wrapper: nn.Module, function: Callable[[nn.Module, Any], Outcome], batch: Any) -> Outcome:
    """Return `function(model, batch)`, computed inside the forward pass of a wrapper around an EntryModule."""
    computation = Computation(function, batch)
    loss = wrapper(computation)
    outcome: Any = computation.outcome
    if loss is not None:  # the wrapper may have put a node of its own behind it
        outcome = (loss, *outcome[1:]) if isinstance(outcome, tuple) else loss
    result: Outcome = outcome
    return result
