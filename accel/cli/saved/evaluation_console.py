"""Evaluation of a run, from the words that were typed to the metrics that are printed."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from accel.cli import torchrun
from accel.cli.compose.compose import compose
from accel.errors import ConfigError, Sentence, nearest
from accel.export.card import Card, export_folder, run_of_export
from accel.report.result import finite
from accel.report.summary import scores_line
from accel.report.visible_console import VisibleConsole
from accel.schema.settings import Settings, typed_name
from accel.system import atomic_files, disk_errors

if TYPE_CHECKING:
    from accel.checkpoints.weights.find_weights import FoundWeights
    from accel.cli.compose.config import Config
    from accel.engine.loading.evaluate_saved import Evaluation

__all__ = ["HEEDED", "SCHEMA", "config_folder", "refuse_idle", "refuse_mistyped", "run_evaluation"]

HEEDED = ("batch_size", "seed", "device", "evaluate.batches", "bad_data", "bad_limit")
"""Settings of a run that an evaluation heeds."""
SCHEMA = 1


def run_evaluation(path: Path, settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Evaluate a run and print its metrics; return the exit code.

    Args:
        path: the run directory, a file of weights or a checkpoint in it, or an export.
        settings: `weights`, `evaluates` and `out`, as far as they were typed.
        overrides: overrides of the run's configuration.

    Raises:
        ConfigError: if anything cannot work.
    """
    exported = export_folder(path)
    folder = config_folder(path if exported is None else run_of_export(exported))
    from accel.cli.saved.evaluate_command import KINDS

    refuse_mistyped(overrides, "evaluate", KINDS)
    config = compose(overrides, config_path=str(folder))
    refuse_idle(config, overrides, "an evaluation")
    torchrun.require_parallel_plugin(config)
    from accel.checkpoints.weights.find_weights import find_weights

    source = find_weights(path if exported is None else folder, weights_of_export(exported, settings))
    file = _output_file(settings["out"], folder) if "out" in settings else None
    try:
        evaluation = _evaluate(config, folder, source, settings.get("evaluates"), exported)
    except Sentence:
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import print_failure

        return print_failure(error)
    if torchrun.rank() == 0:
        _print(evaluation, path, source)
        if file is not None:
            _write(file, evaluation, folder, source)
    return 0


def config_folder(path: Path) -> Path:
    """Return the run directory of a path, which holds the run's config.yaml. Raise ConfigError if there is none."""
    with disk_errors.readable(path):
        folders = [path] if path.is_dir() else [path.parent, path.parent.parent]
        folder = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    if folder is None:
        from accel.checkpoints.weights.find_weights import run_directory_of

        if (run := run_directory_of(path)) != path and path.is_dir():  # its folder of checkpoints
            return config_folder(run)
        raise ConfigError(
            f"{path} has no config.yaml: it is no run directory, or its run was started in Python, where accel.load gives its model"
        )
    return folder


def refuse_mistyped(overrides: Sequence[str], command: str, kinds: Collection[str]) -> None:
    """Raise ConfigError for a word that is no setting of a run, and nearly one of the command's own, which are `kinds`."""
    known = {typed_name(field.name).partition(".")[0] for field in fields(Settings)} | {"task", "plugins"}
    for word in overrides:
        name = word.partition("=")[0]
        if "." not in name and name not in known and (hint := nearest(name, kinds)):
            raise ConfigError(f"{word}: {name} is no setting of {command}{hint}")


def refuse_idle(config: Config, overrides: Sequence[str], work: str, heeded: Collection[str] = HEEDED) -> None:
    """Raise ConfigError for a setting that an evaluation does not heed: of the length of a run, say, or of its schedule.

    Args:
        config: the configuration.
        overrides: as they were typed.
        work: what heeds them, in words.
        heeded: the settings that have an effect.
    """
    from accel.engine.loading.evaluate_saved import TRAINING_ONLY

    idle = {typed_name(field.name) for field in fields(Settings)} - set(heeded)
    parts = {kind.__name__ for kind in TRAINING_ONLY}
    for word in overrides:
        name, _, value = word.lstrip("+~").partition("=")
        chosen: list[str] = []
        if name == "plugins":
            chosen = [plugin.strip() for plugin in value.strip("[]'\"").split(",")]
        elif name.startswith("plugins."):
            chosen = [name.split(".")[1]]
        plugins = [config.plugins[plugin] for plugin in chosen if plugin in config.plugins]
        if name in idle or any(plugin.part in parts for plugin in plugins):
            raise ConfigError(f"{word} has no effect on {work}; leave it out")


def weights_of_export(exported: Path | None, settings: Mapping[str, Any]) -> str | None:
    """Return which weights of the run are meant: those that an export was made of. Raise ConfigError if others are named."""
    if exported is None:
        return settings.get("weights")
    if "weights" in settings:
        raise ConfigError(f"weights={settings['weights']} has no effect: {exported} is an export, which has its own; leave it out")
    which = Card.read(exported).weights.partition(" ")[0]
    return which if which in ("best", "last") else None


def _evaluate(
    config: Config, folder: Path, source: FoundWeights, evaluates: str | None, exported: Path | None
) -> Evaluation:  # fmt: skip
    from accel.cli.saved.saved_request import saved_request
    from accel.engine.loading.evaluate_saved import evaluate_saved
    from accel.engine.loading.task_record import TaskRecord

    request, record = saved_request(config, evaluates), TaskRecord.read(folder)
    if exported is None:
        return evaluate_saved(request, source, record)
    from accel.export.proof.plain_request import plain_request
    from accel.export.runtime.open_export import opened_export

    with opened_export(exported, request.task) as model:
        return evaluate_saved(plain_request(request), source, record, lambda trained: model)


def _print(evaluation: Evaluation, path: Path, source: FoundWeights) -> None:
    console = VisibleConsole(markup=False, highlight=False)
    console.print(Text(scores_line(evaluation.split, evaluation.metrics), style="bold"))
    sizes = [f"{count:,} samples of {split}" for split, count in evaluation.samples.items() if count is not None]
    console.print(Text(f"{path}, weights: {source.text}{'; ' * bool(sizes)}{', '.join(sizes)}", style="dim"))
    for remark in evaluation.remarks:
        console.print(Text(remark))


def _output_file(name: str, folder: Path) -> Path:
    """Return the file that the metrics are written to. Raise ConfigError for a folder, and for a file that the run keeps."""
    file = Path(name).expanduser()
    if not file.name or os.path.isdir(file):
        raise ConfigError(f"out={name} names no file; name one, such as out={shlex.quote(os.path.join(name, 'metrics.json'))}")
    if not os.path.isdir(file.parent):
        raise ConfigError(f"out={name}: there is no folder {file.parent} to write in; make it, or name another file")
    if os.path.isfile(file) and file.resolve().is_relative_to(folder.resolve()) and not _is_evaluation(file):
        raise ConfigError(f"out={name} is a file of the run, which would be lost; name another")
    return file


def _is_evaluation(file: Path) -> bool:
    """Return whether a file holds the metrics of an earlier evaluation."""
    try:
        return {"schema", "run", "weights", "split", "metrics"} <= set(json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return False


def _write(file: Path, evaluation: Evaluation, folder: Path, source: FoundWeights) -> None:
    """Write the metrics as JSON. Raise ConfigError if they cannot be written there."""
    content = {
        "schema": SCHEMA, "run": str(folder), "weights": source.which, "file": source.file.relative_to(folder).as_posix(),
        "checkpoint": None if source.checkpoint is None else source.checkpoint.file.stem,
        "split": evaluation.split, "samples": evaluation.samples, "metrics": finite(evaluation.metrics),
        "remarks": evaluation.remarks,
    }  # fmt: skip
    try:
        atomic_files.write(file, json.dumps(content, indent=1, allow_nan=False).encode())
    except OSError as error:
        raise ConfigError(f"out={file}: cannot write there ({disk_errors.disk_reason(error)}); name another file") from None
