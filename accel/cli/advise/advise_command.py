"""The subcommand `advise`: the model of a run is looked at layer by layer, and told what makes it slow."""

from __future__ import annotations

from collections.abc import Sequence

from accel.cli.arguments import CONFIG_FLAGS, SETTINGS_NOTE, Flag, Usage
from accel.cli.completion.override_candidates import override_candidates
from accel.values import Positive

__all__ = ["USAGE", "main"]

USAGE = Usage(
    "advise",
    "Look at the model itself, without training: what each layer computes and moves, how long it takes and what bounds it on this "
    "machine, and what in the model to change. Weights, random numbers and files stay as they are.",
    ("[FLAG ...] [SETTING=VALUE ...]",),
    (
        Flag(("--json",), "print one document of JSON, and nothing else"),
        Flag(("--picture",), "draw the roofline into an SVG file", "FILE"),
        Flag(("--inference",), "look at it in evaluation mode, forward alone"),
        Flag(("--seconds",), "of timing, about (8)", "N", Positive, 8.0),
        *CONFIG_FLAGS,
    ),
    (
        ("", "the model for the digits that come with scikit-learn"),
        ("task=images task.root=DIR '+plugins=[amp]'", "a model for your pictures, in bfloat16"),
        ("--picture roofline.svg task=text task.path=FILE", "with a picture"),
    ),
    complete=override_candidates,
    notes=SETTINGS_NOTE,
    settings=True,
)


def main(arguments: Sequence[str]) -> int:
    """Advise on a model; return the exit code. Raise ConfigError if it cannot work."""
    args = USAGE.parse(arguments)
    if args.help:
        return USAGE.show_page(True)
    from accel.cli.advise.advise_console import run_advice

    return run_advice(args, args.words)
