"""Predictions of files, from the words that were typed to the rows that are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import torch

from accel.checkpoints.weights.find_weights import find_weights
from accel.cli.exit_codes import FAILED, prints_aside
from accel.cli.saved.comparison_console import opened_model
from accel.cli.saved.input_files import input_names
from accel.cli.saved.own_words import pythons_of_exports
from accel.cli.saved.paired_rows import PairedRows
from accel.cli.saved.prediction_table import PredictionTable
from accel.device.cuda.run_device import choose_device
from accel.engine.loading.load import load_task
from accel.engine.loading.predict import Predictor
from accel.engine.task import Task
from accel.errors import BadSample, ConfigError, Sentence
from accel.export.card import export_folder, run_of_export
from accel.report.terminal import say
from accel.schema.settings import Settings

__all__ = ["BATCH", "UNREADABLE", "predict_files", "read", "run_predictions"]

BATCH = 32
"""Files that are predicted together, unless another number is set."""
UNREADABLE = (OSError, ValueError, EOFError)
"""Errors that a file is the cause of; any other is a defect of the code that reads it."""


def run_predictions(paths: Sequence[Path], settings: dict[str, Any], words: Sequence[str]) -> int:
    """Predict files and print a row for each; return the exit code, 1 if a file could not be read.

    Args:
        paths: the run directory, a file of weights or a checkpoint in it, or an export; two of them for the predictions of both.
        settings: those of the command that were typed.
        words: names of files and folders, and `-`.

    Raises:
        ConfigError: if anything cannot work.
    """
    device = choose_device(Settings(device=settings.get("device", "auto")).device)
    exports = [export_folder(path) for path in paths]
    for path, exported in zip(paths, exports, strict=True):
        if exported is not None and (idle := [name for name in ("weights", "device") if name in settings]):
            raise ConfigError(f"{idle[0]} has no effect: {path} is an export, which has its weights and its engine; leave it out")
        if exported is None:
            find_weights(path, settings.get("weights"))  # a run without a checkpoint is told from a folder that is none
    if "" not in sys.path and str(Path.cwd()) not in sys.path:  # the task may be in the current directory, as in training
        sys.path.insert(0, str(Path.cwd()))
    task = load_task(paths[0] if exports[0] is None else run_of_export(exports[0]))
    names = input_names(words, task.suffixes)
    pythons = pythons_of_exports(exports, settings)
    try:
        with ExitStack() as cleanup:
            out = cleanup.enter_context(prints_aside())
            predictors = []
            for path, exported, python in zip(paths, exports, pythons, strict=True):
                own = torch.device("cpu") if exported is not None else device
                model = cleanup.enter_context(opened_model(path, settings, own, python))
                predictors.append(Predictor(task, model, own, settings.get("top")))
            table = PredictionTable(settings.get("format", "table"))
            size = settings.get("batch_size", BATCH)
            if len(predictors) == 1:
                return predict_files(predictors[0], names, size, table, out)
            pair = PairedRows(*predictors)
            code = predict_files(pair, names, size, table, out)
            say(pair.line(), file=sys.stderr)
            return code
    except Sentence:
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import user_traceback

        say(user_traceback(error), file=sys.stderr)
        return FAILED


def predict_files(
    predictor: Predictor | PairedRows, names: Iterator[str | BadSample], size: int, table: PredictionTable, out: TextIO
) -> int:  # fmt: skip
    """Predict files in batches, in order, and print them; return the exit code. It ends when nobody reads the output any more."""
    code = 0
    while batch := list(islice(names, size)):
        samples: dict[int, Any] = {}
        for place, name in enumerate(batch):
            try:
                samples[place] = read(predictor.task, name)
            except BadSample as error:
                code = FAILED
                say(f"accel: error: {error}", file=sys.stderr, flush=True)
        if samples:
            rows = predictor.rows(list(samples.values()))
            text = table.text([{"file": batch[place], **row} for place, row in zip(samples, rows, strict=True)])
            say(text, end="", file=out, flush=True)
        if getattr(out, "reader_gone", False):
            break
    return code


def read(task: Task, name: str | BadSample) -> Any:
    """Return the sample in a file. Raise BadSample, whose sentence names the file, if it cannot be read."""
    if isinstance(name, BadSample):
        raise name
    try:
        return task.sample_of(name)
    except BadSample:
        raise
    except ConfigError:  # the task reads no files at all
        raise
    except UNREADABLE as error:
        reason = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())[:200]
        raise BadSample(f"{name} cannot be read: {reason or type(error).__name__}") from error
