"""The subcommand `doctor`: a run is measured for a minute, and told what makes it slow and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

from accel.cli.arguments import CONFIG_FLAGS, SETTINGS_NOTE, Flag, Usage
from accel.cli.completion.override_candidates import override_candidates
from accel.values import Positive

__all__ = ["USAGE", "main"]

USAGE = Usage(
    "doctor",
    "Measure a run for a minute, and say where its time goes, what that is bound by, and what to type next: with the speed-up that "
    "the measurements predict, and its bounds. Nothing is trained; weights, random numbers and files stay as they are.",
    ("[FLAG ...] [SETTING=VALUE ...]",),
    (
        Flag(("--json",), "print one document of JSON, and nothing else"),
        Flag(("--seconds",), "of measuring, about (40)", "N", Positive, 40.0),
        Flag(("--apply",), "try the remedies, and write what is kept as an experiment of yours"),
        Flag(("--name",), "of that experiment (doctor): DIR/experiment/NAME.yaml, in --config-dir or conf", "NAME"),
        *CONFIG_FLAGS,
    ),
    (
        ("", "the digits that come with scikit-learn"),
        ("task=images task.root=DIR '+plugins=[amp]'", "your pictures, with a plugin on"),
        ("--json task=text task.path=FILE", "for a program to read"),
        ("--apply --name fast '+plugins=[adamw]'", "some minutes more, and a recipe that is measured"),
    ),
    complete=override_candidates,
    notes=f"{SETTINGS_NOTE} torchrun -m accel doctor measures several ranks.",
    settings=True,
)


def main(arguments: Sequence[str]) -> int:
    """Diagnose a run; return the exit code. Raise ConfigError if the run cannot work."""
    args = USAGE.parse(arguments)
    if args.help:
        return USAGE.show_page(True)
    from accel.cli.doctor.doctor_console import run_doctor

    return run_doctor(args, args.words)
