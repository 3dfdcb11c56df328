"""The teachers of a run, loaded from what its user named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from accel.compress.distillation.teacher import Teacher, digest_of
from accel.errors import ConfigError, describe

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["SELF", "LoadedTeachers", "load_teachers", "teacher_names"]

SELF = "self"
"""Name of the teacher that the run trains itself."""
EXAMPLE = "plugins.distill.teacher=RUN, a run directory or a .safetensors file"


class LoadedTeachers(NamedTuple):
    """Teachers, ready to be asked."""

    teachers: list[Teacher]
    digests: list[str]
    """Of the weights of each, by which a resumed run is told that one has changed."""
    checks: list[Callable[[], None]]
    """Compare what the tasks know of their data, once it is open."""


def teacher_names(given: Any) -> list[str | nn.Module]:
    """Return what the setting `teacher` names, each a path, `self` or a module. Raise ConfigError for anything else."""
    if given is None:
        return []
    names = list(given) if isinstance(given, Iterable) and not isinstance(given, str | Mapping | nn.Module) else [given]
    wrong = [one for one in names if not isinstance(one, nn.Module) and not (isinstance(one, str) and one.strip())]
    if wrong or not names:
        raise ConfigError(f"distill.teacher must be a path, self, or a list of paths, not {describe(wrong[0] if wrong else given)}")
    if SELF in names and len(names) > 1:
        raise ConfigError("distill.teacher=self is a teacher alone; name the others in a run of its own, with this one's directory")
    return names


def load_teachers(
    run: Run, names: list[str | nn.Module], arguments: dict[str, Any] | None, dtype: torch.dtype | None
) -> LoadedTeachers:
    """Return the teachers of a run, on its device.

    Args:
        run: the run, with its model.
        names: what the setting names.
        arguments: those of the run's task in which the teachers' differ; None for those of their run directories.
        dtype: number format of their products; None for that of their weights.

    Raises:
        ConfigError: if there is none, or one cannot be loaded, or is what is trained.
    """
    if not names:
        raise ConfigError(f"distill needs a teacher: {EXAMPLE}")
    if SELF in names:
        raise ConfigError(f"distill.teacher=self trains a teacher first, in a whole training alone; here name one: {EXAMPLE}")
    assert run.load_model is not None
    loaded = LoadedTeachers([], [], [])
    for name in names:
        if isinstance(name, str):
            model, title, check = run.load_model(name, arguments, "distill.teacher")
            loaded.checks.append(check)
        elif any(module is run.unwrapped_model for module in name.modules()):
            raise ConfigError("distill.teacher is the model that is trained itself; give it a copy that is trained already")
        else:
            model, title = deepcopy(name), type(name).__name__
        loaded.digests.append(digest_of(model))
        loaded.teachers.append(Teacher(model, title, dtype, run.device))
    return loaded


def has_channels_last(model: nn.Module) -> bool:
    """Return whether a kernel of a model lies in `torch.channels_last`, and only there."""
    kernels = (param for param in model.parameters() if param.dim() == 4 and not param.is_contiguous())
    return any(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
