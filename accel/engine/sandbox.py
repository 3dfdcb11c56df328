"""Updates on trial: whatever they did, the run is afterwards what it was."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from accel.parts import Window
from accel.system.clock import OTHER

if TYPE_CHECKING:
    from accel.engine.training_run import TrainingRun


@contextmanager
def sandbox(run: TrainingRun) -> Iterator[Iterator[Window]]:
    """Gives the windows of the training data, epoch after epoch, for `run.parts.update`; puts everything back at the end.

    Copies stay on the device where their tensors are. Weights and buffers keep their identity; what the parts keep goes through
    `state_dict` and `load_state_dict`, as when a run is resumed. The time counts as `other`. What the data or the user's own
    objects remember beyond that (a counter in the loss, say) cannot be put back.
    """
    tensors = ModelBackup(run)
    extra = cloned({name: value for name, value in run.unwrapped_model.state_dict().items() if name.endswith("_extra_state")})
    parts = run.parts.all()
    states = [cloned(part.state_dict()) for part in parts]
    random, began = run.random.state(), run.epoch_rng_state
    windows = endless_windows(run)
    try:
        with run.clock.attribute_to(OTHER), detached_workers(run):
            run.model.train()
            yield windows
    finally:
        windows.close()
        tensors.restore()
        if extra:
            run.unwrapped_model.load_state_dict(extra, strict=False)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
        run.epoch_rng_state = began
        run.random.restore(random)


def endless_windows(run: TrainingRun) -> Generator[Window]:
    """The windows of one epoch after the other, from the first on; ends with an epoch that has none."""
    for epoch in count():
        found = False
        for window in run.read(epoch, start=0):
            run.clock.lap(OTHER)
            yield window
            found = True
        if not found:
            return


@contextmanager
def detached_workers(run: TrainingRun) -> Iterator[None]:
    """Gives a DataLoader that keeps its workers others inside: its own, begun later, would draw other random numbers."""
    loader = getattr(run.train, "data", None)
    if not isinstance(loader, DataLoader):
        yield
        return
    kept, loader._iterator = loader._iterator, None
    try:
        yield
    finally:
        loader._iterator = kept


class ModelBackup:
    """The weights and buffers of a model, with copies; a buffer that is assigned anew comes back as the tensor it was."""

    def __init__(self, run: TrainingRun) -> None:
        self.model = run.unwrapped_model
        self.kept = {tensor: tensor.detach().clone() for tensor in [*self.model.parameters(), *self.model.buffers()]}
        self.buffers = [(module, dict(module._buffers)) for module in self.model.modules()]

    def restore(self) -> None:
        """Puts all of them back, and frees what gradients are left."""
        for module, buffers in self.buffers:
            module._buffers.update(buffers)
        with torch.no_grad():
            for tensor, copy in self.kept.items():
                tensor.copy_(copy)
        self.model.zero_grad()


def cloned(value: Any) -> Any:
    """A state with tensors of its own: one that is not moved with what it was taken from."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: cloned(inner) for key, inner in value.items()}
    return type(value)(map(cloned, value)) if isinstance(value, list | tuple) else value
