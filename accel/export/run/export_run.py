"""Export of a run from Python: `accel.export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import nn

from accel.engine.checks.preflight import require_one_process
from accel.engine.task import Task
from accel.errors import ConfigError, describe
from accel.export.exporter import Exporter
from accel.export.proof.torch_reference import TorchReference
from accel.export.run.exports import Exports
from accel.export.run.given_settings import given_settings
from accel.export.run.run_source import run_source
from accel.export.run.show_outcomes import show_outcomes
from accel.export.run.targets_in_turn import export_each, named_targets, refuse_missing, require_targets_heed
from accel.report.record.export_record import write_outcomes
from accel.system.stop_signals import StopSignals

if TYPE_CHECKING:
    from accel.trainer import Trainer

__all__ = ["export_run"]


def export_run(
    run: str | PathLike[str] | Trainer,
    target: str | Sequence[str] = "onnx",
    *,
    weights: str | None = None,
    task: Task | type[Task] | None = None,
    model: nn.Module | None = None,
    evaluates: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Exports:
    """Export the trained model of a run, load it anew by its own engine, and compare it with torch on held-out data.

    What holds is in `RUN/export/TARGET`; what computes something else is refused, and not written. A trainer, its model and all
    random numbers stay as they are.

    Args:
        run: a run directory, or a file of weights in it; or a trainer that has run, with `out`, or one made like it.
        target: the name of an engine, several, or `"all"`, those that are installed.
        weights: of a run directory: `"best"`, `"last"`, or the name of a checkpoint; the best if there is one, else last.
        task: makes the model and has the data, where the directory does not say how: a trainer made like the one of the run, or the
            class of one, which is called with the arguments of the run.
        model: a module of the make that was trained, where neither makes one. It stays as it is.
        evaluates: another split to compare on than the run's, such as `"test"`.
        say: is told each step, before it is made.
        **settings: those of `python -m accel export`, by the same names: `preprocess=True`, `dynamic="length"`, `tolerance=1e-3`.

    Raises:
        ConfigError: if anything cannot work; of several targets, one that cannot be built or run has the status `failed` instead.
        Interrupted: if SIGTERM or SIGINT came: what was half written is taken away.
    """
    require_one_process("export")
    made = given_settings(settings)
    if isinstance(target, str):
        names = named_targets(target)
    else:
        if not (isinstance(target, Sequence) and target and all(isinstance(name, str) for name in target)):
            raise ConfigError(f"target must be the name of a target, or several, such as ['pt2', 'onnx'], not {describe(target)}")
        names = named_targets(",".join(target))
    require_targets_heed(names, settings)
    refuse_missing(names, made.proof.python, made.variant)
    with StopSignals(at_once=True), run_source(run, weights, task, model, evaluates) as source:
        say("the torch model, evaluated")
        exporter = Exporter(TorchReference(source.request, source.weights, source.record), made, source.folder)
        exports = Exports(source.folder, tuple(export_each(exporter, names, say)))
    write_outcomes(exports.run, exports.as_dict()["outcomes"])
    show_outcomes(exports.run)
    return exports
