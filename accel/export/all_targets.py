"""The table of targets. A new one is a file in `accel/export/targets` and a word here; it is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from accel.errors import ConfigError, nearest

if TYPE_CHECKING:
    from accel.export.target import Target

__all__ = ["TARGETS", "make_target", "target_class"]

TARGETS = (
    *("pt2", "torchscript", "onnx", "ort", "openvino", "ncnn", "mnn"),
    *("litert", "executorch", "tvm", "tensorrt"),
)
"""Names of the targets, in the order in which `target=all` takes them."""


def target_class(name: str) -> type[Target]:
    """Return the class of a target. Raise ConfigError if there is none of that name."""
    if name not in TARGETS:
        hint = nearest(name, TARGETS) or f"; there is {', '.join(TARGETS)}, and all"
        raise ConfigError(f"target={name}: there is no such target{hint}")
    module = import_module(f"accel.export.targets.{name}")
    return next(kind for kind in vars(module).values() if isinstance(kind, type) and getattr(kind, "name", None) == name)


def make_target(name: str, settings: Mapping[str, Any] | None = None) -> Target:
    """Return a target with those of some settings that it has; None stands for its own default.

    Args:
        name: its name.
        settings: settings of builds, such as `opset`, by name.
    """
    kind = target_class(name)
    known = {one.name for one in fields(kind)}
    return kind(**{key: value for key, value in (settings or {}).items() if key in known and value is not None})
