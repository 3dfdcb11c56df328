"""accel trains PyTorch models faster, one plugin at a time, and exactly."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from accel import data as data
    from accel import diagnose as diagnose
    from accel import errors as errors
    from accel import optim as optim
    from accel import parts as parts
    from accel import pieces as pieces
    from accel import plugins as plugins
    from accel import system as system
    from accel import tasks as tasks
    from accel import testing as testing
    from accel import trainer as trainer
    from accel import values as values
    from accel.cli.compose.compose import compose
    from accel.diagnose.ablation.ablate import ablate
    from accel.diagnose.advise import advise
    from accel.diagnose.doctor import doctor
    from accel.engine.loading.load import load
    from accel.engine.objectives.minimize import Minimize
    from accel.errors import ConfigError, Interrupted
    from accel.export.run.export_run import export_run as export
    from accel.report.html.write_report import write_report as report
    from accel.trainer import Trainer

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "Interrupted",
    "Minimize",
    "Trainer",
    "__version__",
    "ablate",
    "advise",
    "compose",
    "doctor",
    "export",
    "load",
    "report",
]

LAZY_MODULES = {
    "Trainer": "accel.trainer",
    "ConfigError": "accel.errors",
    "Interrupted": "accel.errors",
    "Minimize": "accel.engine.objectives.minimize",
    "ablate": "accel.diagnose.ablation.ablate",
    "advise": "accel.diagnose.advise",
    "compose": "accel.cli.compose.compose",
    "doctor": "accel.diagnose.doctor",
    "load": "accel.engine.loading.load",
}
"""Modules of the public names, imported when a name is first asked for: torch takes seconds, and Hydra is for the command line."""
PUBLIC_MODULES = (
    "data",
    "diagnose",
    "errors",
    "optim",
    "parts",
    "pieces",
    "plugins",
    "system",
    "tasks",
    "testing",
    "trainer",
    "values",
)
"""Public modules and packages, imported when one is first asked for: `import accel; accel.optim.LAMB`."""
CALLABLE_PACKAGES = ("export", "report")
"""Packages that are called as functions of their names (`accel.system.calls.callable_package`)."""


class OldPaths:
    """Finder behind Python's own, which knows where modules are that have moved. It imports its table when it is first asked."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a stand-in if `name` is the old path of a module of accel, else None."""
        if not name.startswith("accel."):
            return None
        from accel.system.deprecation.old_paths import stand_in

        return stand_in(name)


if not any(getattr(finder, "__name__", "") == OldPaths.__name__ for finder in sys.meta_path):  # not again, by a reload
    sys.meta_path.append(OldPaths)


def __getattr__(name: str) -> Any:
    """Return a public name from its module, or a public module. Raise AttributeError if there is none of that name."""
    if name in PUBLIC_MODULES or name in CALLABLE_PACKAGES:
        return import_module(f"accel.{name}")
    if name in LAZY_MODULES:
        from accel.system.calls.untouched_import import import_untouched

        return getattr(import_untouched(LAZY_MODULES[name]), name)
    raise AttributeError(f"module 'accel' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names and modules."""
    return [*__all__, *PUBLIC_MODULES]
