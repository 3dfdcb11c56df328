"""Model class of a dotted name."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec

from torch import nn

from accel.errors import ConfigError, nearest

__all__ = ["model_by_name"]


def model_by_name(setting: str, name: str, **arguments: int) -> type[nn.Module]:
    """Return the class `package.module.Class`, checked before it is called; an error inside its module is raised as it is.

    Args:
        setting: Setting that holds the name, such as `task.model`, for messages.
        name: The dotted name.
        arguments: Arguments that the class will be called with.

    Raises:
        ConfigError: If there is no such module or class, it is no `nn.Module`, or it does not take `arguments`.
    """
    path, _, last = name.rpartition(".")
    if not path or not _exists(path):
        raise ConfigError(f"{setting}={name}: there is no module {path or name} to import; write package.module.Class")
    module = import_module(path)
    model = getattr(module, last, None)
    if model is None:
        raise ConfigError(f"{setting}={name}: module {path} has no {last}{nearest(last, _classes(module))}")
    if not (isinstance(model, type) and issubclass(model, nn.Module)):
        raise ConfigError(f"{setting}={name} is not a class of models: it must be a subclass of torch.nn.Module")
    try:
        # the signature that a class without __init__ inherits promises anything, and then takes nothing
        inspect.signature((lambda: None) if model.__init__ is nn.Module.__init__ else model).bind(**arguments)
    except TypeError as error:
        call = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise ConfigError(f"{setting}={name} cannot be called as {last}({call}): {error}") from None
    return model


def _exists(path: str) -> bool:
    """Return whether a module can be imported; only its parent packages are."""
    try:
        return find_spec(path) is not None
    except ModuleNotFoundError as error:  # a parent package: missing itself, or missing something that it imports
        if error.name is None or not path.startswith(error.name):
            raise
        return False
    except ValueError:
        return False


def _classes(module: object) -> list[str]:
    """Return the names of the models in a module."""
    return [name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
