"""Remedies of a diagnosis, tried one after the other; what is kept becomes an experiment file of the user's."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from accel.cli.ablate.ablate_console import make_trainer
from accel.cli.compose.compose import compose
from accel.cli.doctor.experiment_file import experiment_path, experiment_text
from accel.cli.job import command_of
from accel.diagnose.applied import TriedRemedy, apply_remedies, is_tried
from accel.errors import ConfigError
from accel.report.result import finite
from accel.report.terminal import say
from accel.system import atomic_files, disk_errors
from accel.system.shell_quoting import quote

if TYPE_CHECKING:
    from accel.diagnose.diagnosis import Diagnosis

__all__ = ["apply_and_write", "in_document"]


def apply_and_write(diagnosis: Diagnosis, args: Namespace, overrides: Sequence[str]) -> dict[str, Any]:
    """Try the remedies, write what is kept, say the command that uses it, and return what a document has of that.

    Args:
        diagnosis: whose remedies are tried.
        args: the flags of `accel doctor`.
        overrides: of the run.

    Raises:
        ConfigError: if the file cannot be written.
    """
    stream = sys.stderr if args.json else sys.stdout

    def make(words: Sequence[str]) -> Callable[[], Any]:
        """Return the function that makes the trainer of the run with more overrides."""
        return partial(make_trainer, compose([*overrides, *words], config_dir=args.config_dir, config_path=args.config_path))

    def report(line: str) -> None:
        say(line, file=stream, flush=True)

    report("")
    tried = apply_remedies([remedy for remedy in diagnosis.remedies if is_tried(remedy)], make, report)
    document: dict[str, Any] = {"applied": [in_document(one) for one in tried], "experiment": None}
    if not any(one.is_kept for one in tried):
        report("nothing that was tried is faster beyond its noise, so no file is written")
        return document
    file = experiment_path(args.name, args.config_dir)
    processor = diagnosis.machine.processor
    about = [
        f"Measured by {diagnosis.command.replace('accel.train', 'accel doctor --apply', 1)}",
        f"on {date.today()}: {processor.name}, {processor.cores} cores, torch {diagnosis.machine.torch.version}",
    ]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write(file, experiment_text(tried, about).encode())
    except OSError as error:
        reason = disk_errors.disk_reason(error)
        raise ConfigError(f"cannot write {file} ({reason}); name another folder: --config-dir DIR") from None
    command = f"{command_of(overrides, str(file.parent.parent), args.config_path)} {quote(f'+experiment={args.name}')}"
    report(f"written to {file}; train with\n  {command}")
    return {**document, "experiment": {"file": str(file), "command": command}}


def in_document(one: TriedRemedy) -> dict[str, Any]:
    """Return what came of a remedy as plain values."""
    plain: dict[str, Any] = finite({
        "name": one.remedy.change.name, "overrides": list(one.words), "is_kept": one.is_kept, "reason": one.reason,
        "predicted": None if one.remedy.of_updates is None else asdict(one.remedy.of_updates),
        "measured": None if one.speed is None else asdict(one.speed), "loss": None if one.loss is None else asdict(one.loss),
    })  # fmt: skip
    return plain
