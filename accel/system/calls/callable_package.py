"""Packages that can be called: `accel.report(RUN)` is the function of that name, and `accel.report` is where its code lies."""

from __future__ import annotations

import sys
from inspect import signature
from types import ModuleType
from typing import Any

from accel.system.calls.call_arguments import check_arguments
from accel.system.calls.untouched_import import import_untouched

__all__ = ["make_callable"]


def make_callable(package: str, home: str, name: str) -> None:
    """Let a package of accel be called as a function of its own, which is imported when it is called.

    Args:
        package: the dotted name of the package, which has been imported.
        home: that of the module of the function.
        name: the name of the function.
    """

    class CallablePackage(ModuleType):
        """Package that passes a call on."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Call the function. Raise ConfigError for arguments that it does not take."""
            function = getattr(import_untouched(home), name)
            check_arguments(package.rpartition(".")[2], signature(function), args, kwargs)
            return function(*args, **kwargs)

    sys.modules[package].__class__ = CallablePackage
