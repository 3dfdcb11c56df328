"""An export in a terminal: from the words that were typed to the table, the files and the exit code."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.cli.doctor.doctor_console import announced
from accel.cli.exit_codes import FAILED, prints_aside
from accel.cli.export.export_command import KINDS
from accel.cli.saved.asked_request import AskingCommand, asked_request, folder_of_run
from accel.errors import ConfigError, Sentence
from accel.export.all_targets import TARGETS
from accel.export.quantisation.variant import setting_of, variant_of
from accel.export.run.export_table import export_table, speed_table
from accel.export.run.sensitivity_table import sensitivity_table
from accel.export.run.show_outcomes import show_outcomes
from accel.export.run.targets_in_turn import export_each, named_targets, refuse_missing, require_targets_heed
from accel.report.record.export_cells import export_lines
from accel.report.record.export_record import write_outcomes
from accel.report.terminal import say
from accel.report.visible_console import VisibleConsole
from accel.system.stop_signals import StopSignals

if TYPE_CHECKING:
    from accel.export.export_outcome import ExportOutcome
    from accel.export.export_settings import ExportSettings
    from accel.export.exporter import Exporter

__all__ = ["HEEDED", "run_export", "typed_threads"]

HEEDED = ("batch_size", "seed", "evaluate.batches", "bad_data", "bad_limit")
"""Settings of a run that an export heeds."""
FIX = "export it in Python, with a trainer made like the one of the run: accel.export({run}, task=TRAINER)"
"""What to do with a run whose task cannot be made again."""


def run_export(path: Path, args: Namespace, settings: dict[str, Any], overrides: Sequence[str]) -> int:
    """Export a run, or check an export, and print what was found; return the exit code, 1 if anything does not hold.

    Args:
        path: the run directory, or a file of weights or a checkpoint in it.
        args: the flags of `accel export`.
        settings: those of the command that were typed.
        overrides: overrides of the run's configuration.

    Raises:
        ConfigError: if anything cannot work.
    """
    folder = folder_of_run(path)
    names = asked_targets(settings.pop("target", None), args.check)
    settings |= checked_variant(settings, args.check)
    if not args.check:
        require_targets_heed(names, settings)
    refuse_missing(names, settings.get("python"), variant_of(settings.get("precision"), settings.get("quantize")))
    asking = AskingCommand("export", "an export, which is proven on the CPU", KINDS, HEEDED, FIX)
    if "threads" in settings:
        settings["threads"] = typed_threads(settings["threads"])
    weights, evaluates = settings.pop("weights", None), settings.pop("evaluates", None)
    made = export_settings(settings)
    try:
        with prints_aside(args.json), StopSignals(at_once=True), announced("exporting") as announce:  # nothing stays half written
            request = asked_request(folder, overrides, asking, evaluates)
            announce("the torch model, evaluated")
            exporter = make_exporter(path, folder, request, weights, made)
            outcomes = _check(exporter, Path(args.check), announce) if args.check else export_each(exporter, names, announce)
    except Sentence:
        raise
    except Exception as error:  # of the user's code
        from accel.cli.tracebacks import print_failure

        return print_failure(error)
    rows = [outcome.as_dict() for outcome in outcomes]
    if not args.check:
        write_outcomes(folder, rows)
        show_outcomes(folder)
    if args.json:
        say(json.dumps({"schema": 1, "outcomes": rows}, indent=1, allow_nan=False))
    else:
        _print(outcomes, rows, folder)
    return 0 if all(outcome.status == "holds" or _is_left_out(outcome, names) for outcome in outcomes) else FAILED


def asked_targets(text: str | None, check: str | None) -> list[str]:
    """Return the targets that were named; none for a check. Raise ConfigError for one that there is not."""
    if check is not None and text is not None:
        raise ConfigError(f"target={text} has no effect: --check {check} is of the target that its card names; leave it out")
    return [] if check is not None else named_targets("onnx" if text is None else text)


def checked_variant(settings: Mapping[str, Any], check: str | None) -> dict[str, str]:
    """Return the settings by which an export that is to be checked was made; none without one. Raise ConfigError for typed ones."""
    if check is None:
        return {}
    if typed := [name for name in OF_BUILDS if name in settings]:
        raise ConfigError(f"{typed[0]}={settings[typed[0]]} has no effect: --check {check} is of files that are made; leave it out")
    from accel.export.card import Card

    return dict([setting_of(Card.read(checked_folder(check)).variant).split("=")])


def checked_folder(check: str) -> Path:
    """Return the folder of the export that is to be checked. Raise ConfigError if there is none."""
    from accel.export.card import export_folder

    if (folder := export_folder(Path(check).expanduser())) is None:
        raise ConfigError(f"--check {shlex.quote(check)} is no export: name a folder with a card.json, such as RUN/export/onnx")
    return folder


OF_BUILDS = ("quantize", "precision", "calibrate", "samples", "sensitivity", "preprocess", "opset", "fusion")
"""Settings of how files are made, of which a check makes none."""


def export_settings(settings: Mapping[str, Any]) -> ExportSettings:
    """Return the settings of an export and its proof. Raise ConfigError for those that do not go together."""
    from accel.export.run.given_settings import given_settings

    return given_settings(settings)


def typed_threads(text: str) -> list[int]:
    """Return the numbers of threads that were typed: `2`, or `[1,2]`. Raise ConfigError for anything else."""
    words = [word.strip() for word in text.removeprefix("[").removesuffix("]").split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise ConfigError(f"threads must be a whole number above 0, or several such as [1,2], not {text}")
    return [int(word) for word in words]


def make_exporter(path: Path, folder: Path, request: Any, weights: str | None, settings: ExportSettings) -> Exporter:
    """Return the exporter of a run, which has evaluated its torch model.

    Args:
        path: as it was typed.
        folder: the run directory.
        request: task and settings of the run.
        weights: those that were named; None for the best, or the last.
        settings: those of the export.
    """
    from accel.checkpoints.weights.find_weights import find_weights
    from accel.engine.loading.task_record import TaskRecord
    from accel.export.exporter import Exporter
    from accel.export.proof.torch_reference import TorchReference

    source = find_weights(path, weights)
    return Exporter(TorchReference(request, source, TaskRecord.read(folder)), settings, folder)


def _check(exporter: Exporter, folder: Path, announce: Callable[[str], None]) -> list[ExportOutcome]:
    where = checked_folder(str(folder))
    announce(f"{where}, checked")
    return [exporter.check(where)]


def _is_left_out(outcome: ExportOutcome, names: Sequence[str]) -> bool:
    """Return whether a target was not run, and not asked for by name."""
    return outcome.status == "not run" and len(names) == len(TARGETS)


def _print(outcomes: Sequence[ExportOutcome], rows: Sequence[dict[str, Any]], folder: Path) -> None:
    console = VisibleConsole(markup=False, highlight=False)
    console.print(export_table(rows))
    if (speed := speed_table(rows)) is not None:
        console.print(speed)
    for outcome in outcomes:
        if outcome.quantisation.get("sensitivity"):
            console.print(sensitivity_table(outcome.quantisation))
    console.print(*export_lines(rows), sep="\n", soft_wrap=True)
    for outcome in outcomes:
        if outcome.folder is not None and outcome.status == "holds":
            console.print(f"{outcome.folder}", soft_wrap=True)
