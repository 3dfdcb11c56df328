"""Old public names that still work, with a DeprecationWarning: modules that moved, and names that a module has renamed.

`accel.OldPaths` stands behind Python's own finders and asks here, when no other finder has a module of accel. Nothing of accel but
the table is imported here until a name is asked for: every layer may use this module.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any

from accel.system.deprecation.moved_modules import MOVED

__all__ = ["GONE_IN", "MovedLoader", "MovedModule", "current_path", "deprecated_names", "stand_in"]

GONE_IN = "0.3"
"""The first release without the old paths, as the warnings name it."""


def current_path(module: str) -> str:
    """Return the dotted path that a module has now, which is `module` itself if it has not moved."""
    return MOVED.get(module, module)


def deprecated_names(module: str, renamed: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module `__getattr__` that hands on renamed attributes, each with a DeprecationWarning.

    A module ends with the lines below. The condition keeps a type checker from believing that the module has every attribute.

        if not TYPE_CHECKING:
            __getattr__ = deprecated_names(__name__, {"Found": "FoundCheckpoint", "Rule": "accel.data.bad_samples.Rule"})

    Args:
        module: `__name__` of the module whose attributes were renamed.
        renamed: new name of each old name: a plain name in the same module, or the full dotted path of an attribute elsewhere.

    Raises:
        AttributeError: by the returned function, if a name is neither an attribute nor in `renamed`.
    """

    def hand_on(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        path = renamed[name] if "." in renamed[name] else f"{module}.{renamed[name]}"
        _warn(f"{module}.{name}", path)
        home, _, attribute = path.rpartition(".")
        return getattr(import_module(home), attribute)

    hand_on.renamed = renamed  # type: ignore[attr-defined]  # read by `MovedModule`, to name the last path at once
    return hand_on


class MovedModule(ModuleType):
    """Stand-in at an old path: each attribute is that of the module at the new path, and asking for one warns."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"Moved to `{MOVED[name]}`.")
        if any(path.startswith(f"{name}.") for path in MOVED):
            self.__path__: list[str] = []  # a package, to Python: its modules are rows of their own

    def __getattr__(self, name: str) -> Any:
        path = MOVED[self.__name__]
        if name == "__all__":  # for `from OLD import *`, which then asks for each
            target = import_module(path)
            return getattr(target, name, [public for public in vars(target) if not public.startswith("_")])
        if name.startswith("__"):  # asked for by Python and by tools that look through all modules
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        target = import_module(path)
        renamed: Mapping[str, str] = getattr(vars(target).get("__getattr__"), "renamed", {})
        new = renamed.get(name, name)
        if "." in new:
            path, _, new = new.rpartition(".")
            target = import_module(path)
        if not hasattr(target, new):
            raise AttributeError(f"module {self.__name__!r}, now {path!r}, has no attribute {name!r}")
        _warn(f"{self.__name__}.{name}", f"{path}.{new}")
        return getattr(target, new)

    def __dir__(self) -> list[str]:
        return dir(import_module(MOVED[self.__name__]))


class MovedLoader:
    """Loader of the stand-ins."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the stand-in for the module at the old path `spec.name`."""
        return MovedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Import the module at the new path, so that an error of it is raised by the import at the old path."""
        import_module(MOVED[module.__name__])


def stand_in(name: str) -> ModuleSpec | None:
    """Return the spec of the stand-in for the module that was at the path `name`, or None if none has moved from there."""
    return ModuleSpec(name, MovedLoader()) if name in MOVED else None  # type: ignore[arg-type]  # the abstract base is 1 ms


def _warn(old: str, new: str) -> None:
    """Warn at the line that asks for an old name, unless Python's import system only looks whether the name is there."""
    frame, level = sys._getframe(1), 2
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    if _is_import_system(frame):  # `from package import name` asks twice: here, and then from the user's own line
        return
    from accel.errors import MovedWarning

    warnings.warn(f"{old} is now {new}; the old name goes in accel {GONE_IN}", MovedWarning, stacklevel=level)


def _is_import_system(frame: FrameType) -> bool:
    return bool(frame.f_globals.get("__name__") == "importlib._bootstrap")
