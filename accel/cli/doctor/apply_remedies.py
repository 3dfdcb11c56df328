"""Remedies of a diagnosis, tried one after the other; what is kept becomes an experiment file of the user's."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from accel.cli import torchrun
from accel.cli.ablate.ablate_console import make_trainer
from accel.cli.compose.config_source import ConfigSource
from accel.cli.doctor.experiment_file import experiment_path, experiment_text, write_experiment
from accel.cli.job import command_of
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.trials.applied_in_order import apply_remedies
from accel.errors import ConfigError
from accel.report.terminal import say
from accel.system.shell_quoting import quote

if TYPE_CHECKING:
    from accel.diagnose.diagnosis import Diagnosis

__all__ = ["apply_and_write", "without"]


def apply_and_write(diagnosis: Diagnosis, args: Namespace, overrides: Sequence[str]) -> dict[str, Any]:
    """Try the remedies, write what is kept, say the command that uses it, and return what a document has of that.

    Every rank must call it. The first one writes and says.

    Args:
        diagnosis: whose remedies are tried.
        args: the flags of `accel doctor`.
        overrides: of the run.

    Raises:
        ConfigError: if the file cannot be written.
    """
    source = ConfigSource.of(args)
    is_first = torchrun.rank() == 0

    def make(more: Overrides) -> Callable[[], Any]:
        """Return the function that makes the trainer of the run with more overrides."""
        return partial(make_trainer, source.compose([*overrides, *more.words]))

    def report(line: str) -> None:
        if is_first:
            say(line, flush=True)

    report("")
    diagnosis.applied = applied = apply_remedies(diagnosis.remedies, make, report)
    for one in applied.untried:
        report(f"not tried: {one.typed}: {one.reason}")
    if not applied.kept:
        report("nothing that was tried is faster beyond its noise, so no file is written")
    if not applied.kept or not is_first:
        return {"experiment": None}
    processor, command = diagnosis.machine.processor, diagnosis.command.replace("accel.train", "accel doctor --apply", 1)
    about = [
        f"Measured by {command}", f"on {date.today()}: {processor.name}, {processor.cores} cores, "
        f"torch {diagnosis.machine.torch.version}",
    ]  # fmt: skip
    file = write_experiment(experiment_path(args.name, source.config_dir), experiment_text(applied, about))
    words = [*without(overrides, applied.kept), f"+experiment={file.stem}"]
    with_file = source._replace(config_dir=str(file.parent.parent))
    if not _is_same_run(words, with_file, [*overrides, *applied.kept.words], source):
        words, with_file = [*overrides, *applied.kept.words], source
    *typed, last = words
    command = f"{command_of(typed, with_file)} {quote(last)}"
    report(f"written to {file}; train with\n  {command}")
    return {"experiment": {"file": str(file), "command": command}}


def without(typed: Sequence[str], kept: Overrides) -> list[str]:
    """Return the overrides of a run without those of settings that an experiment has: they would go before its own.

    >>> without(["epochs=3", "plugins.threads.count=1"], Overrides(settings=(("plugins.threads.count", 8),)))
    ['epochs=3']
    """
    keys = [key for key, _ in kept.settings]
    names = [word.lstrip("+").partition("=")[0] for word in typed]
    return [
        word for word, name in zip(typed, names, strict=True) if not any(name == key or name.startswith(f"{key}.") for key in keys)
    ]


def _is_same_run(words: Sequence[str], with_file: ConfigSource, measured: Sequence[str], source: ConfigSource) -> bool:
    """Return whether a command with the experiment is the run that was measured."""
    try:
        one, other = with_file.compose(words), source.compose(measured)
    except ConfigError:
        return False
    return one.to_dict() == other.to_dict()
