"""The code that a user gave, by what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from accel.checkpoints.weights.weight_names import wrapped_attribute

__all__ = ["model_code", "task_code"]


def task_code(task: Any, base: type, given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the code of a task by what it is for: its own methods over all its classes up to `base`, and the functions given.

    Args:
        task: an instance of a subclass of `base`, or of `base`.
        base: the class whose methods are accel's own.
        given: functions passed instead, by the name of the method.
    """
    kinds = type(task).__mro__[: type(task).__mro__.index(base)]
    code: dict[str, list[Any]] = {}
    for name in ("loss", "objectives", "metrics", "model", "data", "__init__"):
        methods = [MethodType(vars(kind)[name], task) for kind in kinds if isinstance(vars(kind).get(name), FunctionType)]
        passed = [given[name]] if name in ("loss", "metrics") and given.get(name) is not None else []
        code["task" if name == "__init__" else name] = methods + passed
    return code


def model_code(model: nn.Module, methods: list[Any]) -> list[Any]:
    """Return the code of a model: itself if it was passed, else the methods that made it and its classes.

    What such a method sets, it sets by its own text, or by the task's arguments, which are compared anyway.
    """
    kinds = dict.fromkeys(type(module) for module in model.modules() if not wrapped_attribute(module))
    return [*methods, *kinds] if methods else [model]
