"""Export of a trained model to the files of other engines, and the proof that they compute what was trained.

The package can be called: `accel.export(RUN)` exports a run, as `python -m accel export RUN` does.
"""

from __future__ import annotations

from accel.system.calls.callable_package import make_callable

__all__: list[str] = []

make_callable(__name__, "accel.export.run.export_run", "export_run")
