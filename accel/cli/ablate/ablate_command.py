"""The subcommand `ablate`: each plugin of a run is left out, and each is alone, and what that changes is measured."""

from __future__ import annotations

from collections.abc import Sequence

from accel.cli.arguments import CONFIG_FLAGS, SETTINGS_NOTE, Flag, Usage
from accel.cli.completion.override_candidates import override_candidates
from accel.cli.exit_codes import beside_the_work
from accel.values import Count, Positive, Whole

__all__ = ["USAGE", "main"]

USAGE = Usage(
    "ablate",
    "Measure what each plugin of a run brings, in speed, memory and loss: each is left out, and each is alone. The run and its "
    "files stay as they are, and nothing is written but what is asked for.",
    ("[FLAG ...] SETTING=VALUE ...",),
    (
        Flag(("--together",), "plugins that are left out as one, such as onecycle+lamb; several with commas", "NAMES"),
        Flag(("--seeds",), "trainings of each way whose losses are compared, from 4 on; 0 for none (4)", "N", Whole, 4),
        Flag(("--updates",), "updates of each (as many as take four seconds)", "N", Count),
        Flag(("--seconds",), "for each comparison of two speeds, at most, about (45)", "S", Positive, 45.0),
        Flag(("--json",), "print one JSON document, and how it goes to standard error"),
        Flag(("--picture",), "draw the speeds into an SVG file", "FILE"),
        *CONFIG_FLAGS,
    ),
    (
        ("'+plugins=[amp,channels_last]'", "two plugins on the digits"),
        ("'+plugins=[threads,ema]' --seeds 0", "speed and memory alone"),
        ("'+plugins=[onecycle,lamb]' --together onecycle+lamb", "as one"),
    ),
    complete=override_candidates,
    notes=SETTINGS_NOTE,
    settings=True,
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Measure, and print what was found; return the exit code. Raise ConfigError if it cannot work."""
    args = USAGE.parse(arguments)
    if args.help or not arguments:
        return USAGE.show_page(args.help)
    if not args.json:
        beside_the_work()
    from accel.cli.ablate.ablate_console import run_ablation

    return run_ablation(args)
