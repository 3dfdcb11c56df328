"""An export that is there, opened to be used in the place of its run's model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from accel.engine.task import Task
from accel.errors import ConfigError
from accel.export.card import Card, changed_files
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.runtime.engine_process import RuntimeFailed
from accel.export.runtime.exported_model import ExportedModel
from accel.export.runtime.runtime_process import RuntimeProcess

__all__ = ["opened_export"]


@contextmanager
def opened_export(folder: Path, task: Task, python: str | None = None) -> Iterator[ExportedModel]:
    """Yield a module that computes by the files of an export, as long as the block lasts.

    Args:
        folder: the export.
        task: the task of its run.
        python: the interpreter that has its engine; None for this one.

    Raises:
        ConfigError: if the files are not those of the card, or their engine is not installed or does not load them.
    """
    card = Card.read(folder)
    if changed := changed_files(folder, card.files):
        raise ConfigError(f"{folder}: {changed[0]} is not the file of its card (another sha256); export the run again")
    try:
        with RuntimeProcess(card.target, folder, torch.get_num_threads(), python, card.variant) as process:
            model = ExportedModel(card, process, PixelNormalisation.of(task.normalisation))
            model.eval()
            yield model
    except RuntimeFailed as error:
        raise ConfigError(f"{folder} cannot be loaded: {error}; export the run again") from None
