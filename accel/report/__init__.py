"""Drawing only: the plan, the progress line, the summary, the curves and the report of a run. Numbers come from other folders.

The package can be called: `accel.report(RUN)` writes the report of a run, as `python -m accel report RUN` does.
"""

from __future__ import annotations

import sys
from inspect import signature
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

from accel.system.calls.call_arguments import check_arguments

__all__: list[str] = []


class CallablePackage(ModuleType):
    """Module of this package, which is `accel.report` as soon as anything of it has been imported."""

    def __call__(self, *runs: str | PathLike[str], **settings: Any) -> Path:
        """Write the report of a run, or the comparison of several; see `accel.report.html.write_report`."""
        from accel.report.html.write_report import write_report

        check_arguments("report", signature(write_report), runs, settings)
        return write_report(*runs, **settings)


sys.modules[__name__].__class__ = CallablePackage
