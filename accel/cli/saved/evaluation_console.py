"""Evaluation of a run, from the words that were typed to the metrics that are printed."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from accel.cli import torchrun
from accel.cli.exit_codes import prints_aside
from accel.cli.saved.asked_request import AskingCommand, asked_request, folder_of_run
from accel.cli.saved.own_words import pythons_of_exports, weights_of_export
from accel.errors import ConfigError, Sentence
from accel.export.card import export_folder, run_of_export
from accel.report.result import finite
from accel.report.summary import scores_line
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole
from accel.system import atomic_files, disk_errors

if TYPE_CHECKING:
    from accel.checkpoints.weights.find_weights import FoundWeights
    from accel.engine.loading.evaluate_saved import Evaluation
    from accel.engine.request import RunRequest

__all__ = ["HEEDED", "SCHEMA", "asking", "run_evaluation"]

HEEDED = ("batch_size", "seed", "device", "evaluate.batches", "bad_data", "bad_limit")
"""Settings of a run that an evaluation heeds."""
SCHEMA = 1


def asking() -> AskingCommand:
    """Return what `evaluate` asks of a run."""
    from accel.cli.saved.evaluate_command import KINDS

    fix = "accel.load gives its model, to be evaluated in Python"
    return AskingCommand("evaluate", "an evaluation", KINDS, HEEDED, fix, torchrun.require_parallel_plugin)


def run_evaluation(
    paths: Sequence[Path], settings: dict[str, Any], overrides: Sequence[str], is_json: bool = False
) -> int:  # fmt: skip
    """Evaluate a run, or compare it with another, and print the metrics; return the exit code.

    Args:
        paths: the run directory, a file of weights or a checkpoint in it, or an export; of a comparison, two of them.
        settings: `weights`, `evaluates`, `python` and `out`, as far as they were typed.
        overrides: overrides of the run's configuration.
        is_json: whether one JSON document is printed, and nothing else.

    Raises:
        ConfigError: if anything cannot work.
    """
    folders = [folder_of_run(path if (exported := export_folder(path)) is None else run_of_export(exported)) for path in paths]
    file = _output_file(settings["out"], folders) if "out" in settings else None
    try:
        with prints_aside(is_json):
            show, document = (_compared if len(paths) > 1 else _evaluated)(paths, settings, overrides)
    except Sentence:
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import print_failure

        return print_failure(error)
    if torchrun.rank() == 0:
        if is_json:
            say(json.dumps(document, indent=1, allow_nan=False))
        else:
            show()
        if file is not None:
            _write(file, document)
    return 0


def _evaluated(
    paths: Sequence[Path], settings: dict[str, Any], overrides: Sequence[str]
) -> tuple[Callable[[], None], dict[str, Any]]:  # fmt: skip
    """Return what prints the metrics of a run, and their document."""
    (path,) = paths
    exported = export_folder(path)
    folder = folder_of_run(path if exported is None else run_of_export(exported))
    request = asked_request(folder, overrides, asking(), settings.get("evaluates"))
    from accel.checkpoints.weights.find_weights import find_weights

    source = find_weights(path if exported is None else folder, weights_of_export(exported, settings))
    evaluation = _evaluate(request, folder, source, exported, *pythons_of_exports([exported], settings))
    return lambda: _print(evaluation, path, source), _document(evaluation, folder, source)


def _compared(
    paths: Sequence[Path], settings: dict[str, Any], overrides: Sequence[str]
) -> tuple[Callable[[], None], dict[str, Any]]:  # fmt: skip
    """Return what prints the comparison of two runs, and its document."""
    from accel.cli.saved.comparison_console import compared, comparison_document, print_comparison

    comparison = compared(paths, settings, overrides, asking())
    return lambda: print_comparison(paths, comparison), comparison_document(paths, comparison)


def _evaluate(
    request: RunRequest, folder: Path, source: FoundWeights, exported: Path | None, python: str | None
) -> Evaluation:  # fmt: skip
    from accel.engine.loading.evaluate_saved import evaluate_saved
    from accel.engine.loading.task_record import TaskRecord

    record = TaskRecord.read(folder)
    if exported is None:
        return evaluate_saved(request, source, record)
    from accel.export.proof.plain_request import plain_request
    from accel.export.runtime.open_export import opened_export

    with opened_export(exported, request.task, python) as model:
        return evaluate_saved(plain_request(request), source, record, lambda trained: model)


def _print(evaluation: Evaluation, path: Path, source: FoundWeights) -> None:
    console = VisibleConsole(markup=False, highlight=False)
    console.print(Text(scores_line(evaluation.split, evaluation.metrics), style="bold"))
    sizes = [f"{count:,} samples of {split}" for split, count in evaluation.samples.items() if count is not None]
    console.print(Text(f"{path}, weights: {source.text}{'; ' * bool(sizes)}{', '.join(sizes)}", style="dim"))
    for remark in evaluation.remarks:
        console.print(Text(remark))


def _output_file(name: str, folders: Sequence[Path]) -> Path:
    """Return the file that the metrics are written to. Raise ConfigError for a folder, and for a file that the run keeps."""
    file = Path(name).expanduser()
    if not file.name or os.path.isdir(file):
        raise ConfigError(f"out={name} names no file; name one, such as out={shlex.quote(os.path.join(name, 'metrics.json'))}")
    if not os.path.isdir(file.parent):
        raise ConfigError(f"out={name}: there is no folder {file.parent} to write in; make it, or name another file")
    is_own = any(file.resolve().is_relative_to(folder.resolve()) for folder in folders)
    if os.path.isfile(file) and is_own and not _is_evaluation(file):
        raise ConfigError(f"out={name} is a file of the run, which would be lost; name another")
    return file


def _is_evaluation(file: Path) -> bool:
    """Return whether a file holds the metrics of an earlier evaluation."""
    try:
        content = set(json.loads(file.read_bytes()))
        return {"schema", "run", "weights", "split", "metrics"} <= content or {"schema", "models", "comparison"} <= content
    except (OSError, ValueError, TypeError):
        return False


def _document(evaluation: Evaluation, folder: Path, source: FoundWeights) -> dict[str, Any]:
    """Return the metrics as JSON holds them."""
    return {
        "schema": SCHEMA, "run": str(folder), "weights": source.which, "file": source.file.relative_to(folder).as_posix(),
        "checkpoint": None if source.checkpoint is None else source.checkpoint.file.stem,
        "split": evaluation.split, "samples": evaluation.samples, "metrics": finite(evaluation.metrics),
        "remarks": evaluation.remarks,
    }  # fmt: skip


def _write(file: Path, document: dict[str, Any]) -> None:
    """Write the metrics as JSON. Raise ConfigError if they cannot be written there."""
    try:
        atomic_files.write(file, json.dumps(document, indent=1, allow_nan=False).encode())
    except OSError as error:
        raise ConfigError(f"out={file}: cannot write there ({disk_errors.disk_reason(error)}); name another file") from None
