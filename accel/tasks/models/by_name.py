"""A model class by its dotted name."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec

from torch import nn

from accel.errors import ConfigError, nearest

__all__ = ["model_by_name"]


def model_by_name(setting: str, name: str, **arguments: int) -> type[nn.Module]:
    """The class `package.module.Class`, checked before anything is called; an error inside its module is left as it is.

    Args:
        setting: what the user typed it for, such as `task.model`, for the message.
        name: the dotted name.
        arguments: what it is going to be called with.

    Raises:
        ConfigError: where there is no such module or class, it is no `nn.Module`, or it does not take `arguments`.
    """
    path, _, last = name.rpartition(".")
    if not path or not _exists(path):
        raise ConfigError(f"{setting}={name}: there is no module {path or name} to import; write package.module.Class")
    module = import_module(path)
    found = getattr(module, last, None)
    if found is None:
        raise ConfigError(f"{setting}={name}: module {path} has no {last}{nearest(last, _classes(module))}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ConfigError(f"{setting}={name} is not a class of models: it must be a subclass of torch.nn.Module")
    try:
        # the signature that a class without __init__ inherits promises anything, and then takes nothing
        inspect.signature((lambda: None) if found.__init__ is nn.Module.__init__ else found).bind(**arguments)
    except TypeError as error:
        call = ", ".join(f"{key}={value}" for key, value in arguments.items())
        raise ConfigError(f"{setting}={name} cannot be called as {last}({call}): {error}") from None
    return found


def _exists(path: str) -> bool:
    try:
        return find_spec(path) is not None
    except ModuleNotFoundError as error:  # a parent package: missing itself, or missing something that it imports
        if error.name is None or not path.startswith(error.name):
            raise
        return False
    except ValueError:
        return False


def _classes(module: object) -> list[str]:
    return [name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, nn.Module)]
