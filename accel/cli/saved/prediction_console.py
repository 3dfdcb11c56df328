"""Predictions of files, from the words that were typed to the rows that are printed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from accel.checkpoints.weights.find_weights import find_weights
from accel.cli.exit_codes import FAILED
from accel.cli.saved.input_files import input_names
from accel.cli.saved.prediction_table import PredictionTable
from accel.device.cuda.run_device import choose_device
from accel.engine.loading.load import load_into, load_task
from accel.engine.loading.predict import Predictor
from accel.engine.task import Task
from accel.errors import BadSample, ConfigError, Sentence
from accel.export.card import export_folder, run_of_export
from accel.export.runtime.open_export import opened_export
from accel.report.terminal import say
from accel.schema.settings import Settings

__all__ = ["BATCH", "UNREADABLE", "predict_files", "read", "run_predictions"]

BATCH = 32
"""Files that are predicted together, unless another number is set."""
UNREADABLE = (OSError, ValueError, EOFError)
"""Errors that a file is the cause of; any other is a defect of the code that reads it."""


def run_predictions(path: Path, settings: dict[str, Any], words: Sequence[str]) -> int:
    """Predict files and print a row for each; return the exit code, 1 if a file could not be read.

    Args:
        path: the run directory, a file of weights or a checkpoint in it, or an export.
        settings: those of the command that were typed.
        words: names of files and folders, and `-`.

    Raises:
        ConfigError: if anything cannot work.
    """
    device = choose_device(Settings(device=settings.get("device", "auto")).device)
    exported = export_folder(path)
    if exported is not None and (idle := [name for name in ("weights", "device") if name in settings]):
        raise ConfigError(f"{idle[0]} has no effect: {path} is an export, which has its weights and its engine; leave it out")
    run = path if exported is None else run_of_export(exported)
    source = find_weights(run, settings.get("weights")) if exported is None else None
    if "" not in sys.path and str(Path.cwd()) not in sys.path:  # the task may be in the current directory, as in training
        sys.path.insert(0, str(Path.cwd()))
    task = load_task(run)
    names = input_names(words, task.suffixes)
    try:
        with ExitStack() as cleanup:
            if exported is None:
                assert source is not None
                model = load_into(source, task, device)
            else:
                model, device = cleanup.enter_context(opened_export(exported, task)), torch.device("cpu")
            predictor = Predictor(task, model, device, settings.get("top"))
            table = PredictionTable(settings.get("format", "table"))
            return predict_files(predictor, names, settings.get("batch_size", BATCH), table)
    except Sentence:
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import user_traceback

        say(user_traceback(error), file=sys.stderr)
        return FAILED


def predict_files(predictor: Predictor, names: Iterator[str | BadSample], size: int, table: PredictionTable) -> int:
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
            say(text, end="", flush=True)
        if getattr(sys.stdout, "reader_gone", False):
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
