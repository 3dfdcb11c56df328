"""Drawing only: the plan, the progress line, the summary, the curves and the report of a run. Numbers come from other folders.

The package can be called: `accel.report(RUN)` writes the report of a run, as `python -m accel report RUN` does.
"""

from __future__ import annotations

from accel.system.calls.callable_package import make_callable

__all__: list[str] = []

make_callable(__name__, "accel.report.html.write_report", "write_report")
