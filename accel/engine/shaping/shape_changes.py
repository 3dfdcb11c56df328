"""Changes of the model's shape between two updates."""

from __future__ import annotations

from torch import nn

from accel.errors import ConfigError
from accel.parts import Run
from accel.parts.shared.trained_parameters import follow_replacements
from accel.system.faults import point

__all__ = ["change_shape"]


def change_shape(run: Run) -> bool:
    """Let each plugin that is due change the model before the next update, and all parts follow. Every rank must call it.

    Returns:
        Whether the model has changed.

    Raises:
        ConfigError: if ranks have changed it differently.
    """
    changes = {shape.name: replacements for shape in run.parts.shapes().values() if (replacements := shape.change(run)) is not None}
    if not changes:
        return False
    point("shaping.changed")
    replacements = [replacement for each in changes.values() for replacement in each]
    check_ranks(run, list(changes))
    for replacement in replacements:
        replacement.new.grad = None
    run.parts.layout.model(run.unwrapped_model)
    run.saved_buffers.collect(run.unwrapped_model)
    follow_replacements(run, replacements)
    point("shaping.followed")
    return True


def check_ranks(run: Run, names: list[str]) -> None:
    """Raise ConfigError on every rank if they do not have the same parameters after a change, by number and by shape."""
    parallel = run.parts.parallel
    if len(set(parallel.gather(outline(run.unwrapped_model)))) > 1:
        raise ConfigError(f"{' and '.join(names)}: the ranks have changed the model differently in update {run.progress.step + 1}")


def outline(model: nn.Module) -> str:
    """Return the shapes of a model's parameters, in words by which models of other shapes are told apart."""
    return ", ".join(f"{name} {tuple(param.shape)}" for name, param in model.named_parameters())
