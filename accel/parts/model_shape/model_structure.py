"""What was done to the modules of a user's model, as plain values, by which it is done again to a model made anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from torch import nn

from accel.errors import ConfigError
from accel.parts.model_shape.shape import Shape
from accel.parts.run import Run
from accel.schema import plugin_registry

__all__ = [
    "NO_KINDS", "Structure", "is_shipped_changed", "is_structure", "kinds_of_run", "rebuilt", "rebuilt_as", "ship", "structure_of",
    "undone",
]  # fmt: skip

NO_KINDS: Mapping[str, type[Shape]] = {}
"""No classes but those that are installed."""
Structure = list[dict[str, Any]]
"""An entry for each part that has changed the model, in the order of the parts: its name in `part`, that of the plugin in `plugin`,
and what this tells of the model in `structure`, values that JSON can hold."""


def is_structure(value: Any) -> bool:
    """Return whether a value that was read from a file is a structure, as far as its form tells."""
    kinds = {"part": str, "plugin": str, "structure": dict}
    return isinstance(value, list) and all(
        isinstance(entry, dict) and entry.keys() == kinds.keys() and all(isinstance(entry[key], kinds[key]) for key in kinds)
        for entry in value
    )


def structure_of(run: Run) -> Structure:
    """Return the structure of the model as it is now: what it began with, and what the plugins of this run have done."""
    entries = {entry["part"]: entry for entry in run.restored}
    shapes = run.parts.shapes()
    for part, shape in shapes.items():
        if inner := shape.structure():
            entries[part] = {"part": part, "plugin": shape.name, "structure": inner}
    structure: Structure = json.loads(json.dumps([entries[part] for part in shapes if part in entries]))  # as a file gives it back
    return structure


def kinds_of_run(run: Run) -> dict[str, type[Shape]]:
    """Return the classes of the plugins of a run that may change its model, by name: they need not be installed."""
    return {shape.name: type(shape) for shape in run.parts.shapes().values()}


def rebuilt(model: nn.Module, structure: Structure, kinds: Mapping[str, type[Shape]] = NO_KINDS) -> nn.Module:
    """Return a model as the user's code makes it, with the modules that its structure tells of, and no tensor loaded.

    Args:
        model: the model, which may be changed in place.
        structure: the structure.
        kinds: classes of plugins by name that are used before those that are installed.

    Raises:
        ConfigError: for a plugin that is not installed, and for a model of another make.
    """
    for entry in structure:
        model = _kind_of(entry, kinds).rebuild(model, entry["structure"])
    return model


def rebuilt_as(run: Run, model: nn.Module | None) -> nn.Module | None:
    """Return a copy of the model of a run, which was made before the model has changed, with the modules that it has now."""
    return None if model is None else rebuilt(model, structure_of(run), kinds_of_run(run))


def undone(model: nn.Module, structure: Structure, kinds: Mapping[str, type[Shape]] = NO_KINDS) -> tuple[nn.Module, Structure]:
    """Return a model without what can be taken out again of its structure, and the entries of that.

    Args:
        model: the model, which may be changed in place.
        structure: its structure.
        kinds: as for `rebuilt`.
    """
    own: Any = Shape.undone
    entries = [entry for entry in structure if cast(Any, _kind_of(entry, kinds).undone).__func__ is not own.__func__]
    for entry in reversed(entries):
        model = _kind_of(entry, kinds).undone(model)
    return model, entries


def is_shipped_changed(structure: Structure, kinds: Mapping[str, type[Shape]] = NO_KINDS) -> bool:
    """Return whether a model of this structure is shipped as another one than is trained. `kinds` is as for `rebuilt`."""
    own: Any = Shape.ship
    return any(cast(Any, _kind_of(entry, kinds).ship).__func__ is not own.__func__ for entry in structure)


def ship(model: nn.Module, structure: Structure, kinds: Mapping[str, type[Shape]] = NO_KINDS) -> tuple[nn.Module, Structure]:
    """Return a model without what only training needs, and its structure then.

    Args:
        model: the model, with its weights, in evaluation mode, which may be changed in place.
        structure: its structure.
        kinds: as for `rebuilt`.
    """
    shipped: Structure = []
    for entry in structure:
        kind = _kind_of(entry, kinds)
        model, inner = kind.ship(model, kind.follow_shipped(model, entry["structure"]))
        shipped.append(entry | {"structure": inner})
    return model, shipped


def _kind_of(entry: dict[str, Any], kinds: Mapping[str, type[Shape]]) -> type[Shape]:
    """Return the class of the plugin that an entry names. Raise ConfigError if it is not installed, or changes no model."""
    name = entry["plugin"]
    if name in kinds:
        return kinds[name]
    if name not in plugin_registry.targets():
        raise ConfigError(f"the plugin {name} has changed the modules of this model, and is not installed here")
    kind: type[Any] = plugin_registry.load(name)
    if not issubclass(kind, Shape):
        raise ConfigError(f"the plugin {name} is said to have changed the modules of this model, and is none that can")
    return kind
