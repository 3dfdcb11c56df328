"""The subcommand `drill`: a run is struck again and again, and compared with one that is left alone."""

from __future__ import annotations

import os
from collections.abc import Sequence

from accel.cli.arguments import CONFIG_FLAGS, SETTINGS_NOTE, Flag, Usage
from accel.cli.completion.override_candidates import override_candidates
from accel.cli.exit_codes import beside_the_work
from accel.cli.help_page import Row
from accel.errors import ConfigError, nearest
from accel.values import Count, NonNegative, Whole

__all__ = ["KINDS", "USAGE", "complete_words", "main"]

KINDS = {
    "kill": "kill -9 at random instants, resumed until it is done",
    "update": "kill -9 after every update and in every evaluation, one after the other",
    "term": "SIGTERM and SIGINT at random instants: exit code 75, in time",
    "corrupt": "killed, and its newest checkpoint damaged",
    "disk": "no room on the disk for some writes",
    "worker": "a process of the loader killed",
}
FORKED = {"disk": "no drill can fail the writes", "update": "no drill can count the updates"}
"""What the kinds cannot do that need forked runs."""


def complete_words(words: Sequence[str], word: str) -> list[Row]:
    """Return the kinds of drill for the first word, and overrides for all others."""
    return override_candidates(words, word) if any(kind in words for kind in KINDS) else list(KINDS.items())


USAGE = Usage(
    "drill",
    "Train once, left alone, and then so many times while a run is struck. Each must end with the same bits: weights, optimiser, "
    "random numbers, metrics.jsonl. The exit code is 0 if all do, 1 if one does not.",
    ("KIND [FLAG ...] [SETTING=VALUE ...]",),
    (
        Flag(("--n",), "trials (20)", "N", Count, 20),
        Flag(("--seed",), "of all that is drawn (a new one, which is printed)", "N", Whole),
        Flag(("--trial",), "only trial number K of that seed", "K", Whole),
        Flag(("--within",), "seconds that a run has to stop, besides its slowest update (5)", "S", NonNegative, 5.0),
        Flag(("--dir",), "for the runs (a temporary folder); those that fail are kept", "DIR"),
        Flag(("--fresh",), "each run a process of its own, which imports all anew; without it they are forked"),
        *CONFIG_FLAGS,
    ),
    (
        ("kill epochs=2 checkpoint.every=10", "twenty runs of the digits, killed"),
        ("term '+plugins=[amp,ema]' epochs=2 --n 5", "five runs with two plugins, asked to stop"),
        ("disk --seed 7 --trial 3 epochs=2", "one trial again"),
    ),
    (("Kinds", tuple(KINDS.items())),),
    complete_words,
    f"{SETTINGS_NOTE} A config that ends in seconds makes a good drill.",
    settings=True,
)


def main(arguments: Sequence[str]) -> int:
    """Run a drill; return 0 if every trial passed, 1 if one did not. Raise ConfigError if the drill cannot work."""
    args = USAGE.parse(arguments)
    if args.help or not arguments:
        return USAGE.show_page(args.help)
    if not hasattr(os, "fork"):
        raise ConfigError("drills fork processes, which this system does not do")
    kind = _kind(args.words)
    if args.fresh and kind in FORKED:
        raise ConfigError(f"{FORKED[kind]} of a process of its own; leave --fresh out")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy begins threads when it is imported, and a fork must find none
    beside_the_work()
    from accel.cli.drill_console import run_drill

    return run_drill(kind, args, args.words[1:])


def _kind(words: Sequence[str]) -> str:
    """Return the kind of drill. Raise ConfigError if there is none of that name."""
    if not words:
        raise ConfigError(f"drill takes a kind first: {', '.join(KINDS)}; {USAGE.program} --help says more")
    if words[0] not in KINDS:
        hint = nearest(words[0], KINDS) or f"; there is {', '.join(KINDS)}"
        raise ConfigError(f"no drill is called {words[0]!r}{hint}")
    return words[0]
