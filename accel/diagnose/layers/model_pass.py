"""Passes through a model that leave it as it was: of a model and a batch, or of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from accel.checkpoints.user_state import UserState
from accel.data.batches.containers import tensors_in
from accel.data.loaders.device_copy import map_tensors
from accel.diagnose.doctor import untouched
from accel.errors import ConfigError
from accel.parts.loss_output import split_loss
from accel.parts.shared.model_output import unpack_output

__all__ = ["ModelPass", "own_batch", "pass_of", "unmoved"]


@dataclass
class ModelPass:
    """Forward pass through a model, and the backward pass behind it.

    Args:
        model: the model, as its author wrote it.
        forward: computes the outputs whose gradients are wanted, or a loss.
        backward: computes the gradients from them; None if the model is not trained here.
        device: of its parameters, or of the batch.
    """

    model: nn.Module
    forward: Callable[[], Any]
    backward: Callable[[Any], None] | None
    device: torch.device

    def run(self) -> None:
        """Make one pass. The gradients are left in the parameters; `clear` takes them away."""
        with torch.set_grad_enabled(self.backward is not None):
            outputs = self.forward()
        if self.backward is not None:
            self.backward(outputs)

    def clear(self) -> None:
        """Take the gradients away."""
        for param in self.model.parameters():
            param.grad = None


@contextmanager
def unmoved(model: nn.Module, *functions: Any) -> Iterator[None]:
    """Put back whatever passes move: weights, buffers, gradients, modes, random numbers, what the modules remember.

    Args:
        model: the model.
        functions: that are called too, such as the loss: what they remember is put back as far as a checkpoint could keep it.
    """
    with untouched(model):
        state = UserState(model, {f"function{number}": one for number, one in enumerate(functions) if one is not None})
        state.remember()
        try:
            for param in model.parameters():
                param.grad = None
            yield
        finally:
            state.undo()


def pass_of(model: nn.Module, batch: Any, loss: Callable[[nn.Module, Any], Any] | None) -> ModelPass:
    """Return the pass of a model and a batch; with a backward pass if the model is in training mode and anything in it is trained.

    Args:
        model: the model, in the mode in which it is looked at.
        batch: of tensors, on the device of the model. Without a loss: a tensor, a tuple or list of positional arguments, or a
            mapping of named ones.
        loss: `loss(model, batch)`; None for the outputs of the model alone, with gradients of one.

    Raises:
        ConfigError: for what is no module, or has parameters that are not made yet, and for a batch without tensors.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if any(is_lazy(param) for param in [*model.parameters(), *model.buffers()]):
        raise ConfigError("the model has lazy parameters without a shape yet; call it once on a batch, and then advise")
    if next(tensors_in(batch), None) is None:
        raise ConfigError(f"batch must hold a tensor, as the model takes it, and this {type(batch).__name__} has none")
    device = next((param.device for param in model.parameters()), _first_tensor(batch).device)
    trains = model.training and any(param.requires_grad for param in model.parameters())

    def forward() -> Any:
        outputs = call(model, batch) if loss is None else loss(model, batch)
        return outputs if loss is None or not trains else split_loss(unpack_output(outputs, model, batch)).loss

    return ModelPass(model, forward, _backward if trains else None, device)


def call(model: nn.Module, batch: Any) -> Any:
    """Call a model with a batch as its arguments. Raise ConfigError if it does not take them."""
    if isinstance(batch, Mapping):
        args, kwargs = (), dict(batch)
    else:
        args, kwargs = (tuple(batch) if isinstance(batch, list | tuple) else (batch,)), {}
    try:
        return model(*args, **kwargs)
    except TypeError as error:
        if "argument" not in str(error) or error.__traceback__ is None:
            raise
        message = f"the model does not take this batch ({error}); pass what its forward takes, or loss=function(model, batch)"
        raise ConfigError(message) from error


def _backward(outputs: Any) -> None:
    """Compute the gradients of all outputs that have any, as if each element counted once."""
    wanted = [tensor for tensor in tree_leaves(outputs) if isinstance(tensor, Tensor) and tensor.requires_grad]
    if not wanted:
        raise ConfigError("no output of the model depends on a trained parameter; pass loss=function(model, batch)")
    torch.autograd.backward(wanted, [torch.ones_like(tensor) for tensor in wanted])


def own_batch(batch: Any) -> Any:
    """Return a batch with tensors of its own, without gradients: a model may write into what it is given."""
    return map_tensors(batch, lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf)


def _first_tensor(batch: Any) -> Tensor:
    return next(tensors_in(batch))
