"""Two runs or exports compared in a terminal: the metrics of both on the same data, and how far their outputs differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich import box
from rich.table import Table
from rich.text import Text
from torch import nn

from accel.cli.saved.asked_request import AskingCommand, asked_request, folder_of_run
from accel.cli.saved.own_words import pythons_of_exports, weights_of_export
from accel.export.card import export_folder, run_of_export
from accel.report.formatting import number
from accel.report.result import finite
from accel.report.visible_console import VisibleConsole

if TYPE_CHECKING:
    from accel.export.comparison.model_comparison import ModelComparison

__all__ = ["compared", "comparison_document", "opened_model", "print_comparison"]

SCHEMA = 1


def compared(paths: Sequence[Path], settings: dict[str, Any], overrides: Sequence[str], asking: AskingCommand) -> ModelComparison:
    """Return the comparison of two runs or exports, on the held-out data of the first.

    Args:
        paths: run directories, files of weights or checkpoints in them, or exports.
        settings: those of `evaluate` that were typed.
        overrides: overrides of the configuration of the first.
        asking: what `evaluate` asks of a run.

    Raises:
        ConfigError: if one of them cannot be evaluated, or they cannot be compared.
    """
    from accel.checkpoints.weights.find_weights import find_weights
    from accel.engine.loading.task_record import TaskRecord
    from accel.export.comparison.compare_models import compare_models
    from accel.export.runtime.open_export import opened_export

    heeded = [name for name in asking.heeded if name != "device"]
    asking = replace(asking, work="a comparison, which is made on the CPU", heeded=heeded)
    first = paths[0]
    exported = export_folder(first)
    pythons = pythons_of_exports([exported, export_folder(paths[1])], settings)
    folder = folder_of_run(first if exported is None else run_of_export(exported))
    request = asked_request(folder, overrides, asking, settings.get("evaluates"))
    source = find_weights(first if exported is None else folder, weights_of_export(exported, settings))
    with ExitStack() as stack:
        two = stack.enter_context(opened_model(paths[1], settings, torch.device("cpu"), pythons[1]))
        one = None if exported is None else stack.enter_context(opened_export(exported, request.task, pythons[0]))
        return compare_models(request, source, TaskRecord.read(folder), lambda trained: trained if one is None else one, two)


@contextmanager
def opened_model(path: Path, settings: dict[str, Any], device: torch.device, python: str | None) -> Iterator[nn.Module]:
    """Give the model of a run, or of an export, in evaluation mode. Raise ConfigError if there is none.

    Args:
        path: a run directory, a file of weights or a checkpoint in it, or an export.
        settings: those that were typed, of which `weights` is heeded by a run.
        device: the device of a run's model.
        python: the interpreter that has the engine of an export; None for this one.
    """
    from accel.checkpoints.weights.find_weights import find_weights
    from accel.engine.loading.load import load_into, load_task
    from accel.export.runtime.open_export import opened_export

    exported = export_folder(path)
    if exported is None:
        source = find_weights(path, settings.get("weights"))
        yield load_into(source, load_task(path), device)
    else:
        with opened_export(exported, load_task(run_of_export(exported)), python) as model:
            yield model


def comparison_document(paths: Sequence[Path], comparison: ModelComparison) -> dict[str, Any]:
    """Return a comparison as the JSON document that is printed and written."""
    models = [{"path": str(path), "metrics": finite(metrics)} for path, metrics in zip(paths, comparison.metrics, strict=True)]
    return {"schema": SCHEMA, "models": models, "comparison": comparison.as_dict()}


def print_comparison(paths: Sequence[Path], comparison: ModelComparison) -> None:
    """Print the metrics of both in a table, and the differences below it."""
    console = VisibleConsole(markup=False, highlight=False)
    samples = "" if comparison.samples is None else f"{comparison.samples:,} samples of "
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    table.add_column(Text(f"{samples}{comparison.split}"), overflow="fold")
    names = list(dict.fromkeys(name for metrics in comparison.metrics for name in sorted(metrics, key=lambda name: name == "loss")))
    for name in names:
        table.add_column(Text(name.replace("_", " ")), justify="right")
    for path, metrics in zip(paths, comparison.metrics, strict=True):
        table.add_row(Text(str(path)), *(Text(number(metrics[name]) if name in metrics else "-") for name in names))
    console.print(table)
    console.print(*comparison.lines(), sep="\n", soft_wrap=True)
