"""The subcommand `evaluate`: the metrics of the weights that a run keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accel.cli.arguments import Flag, Usage
from accel.cli.completion.override_candidates import override_candidates
from accel.cli.completion.path_candidates import path_candidates
from accel.cli.help_page import Row
from accel.cli.saved.own_words import own_candidates, require_path, second_path, split_words

__all__ = ["KINDS", "USAGE", "complete_words", "main"]

KINDS: dict[str, Any] = {"weights": str, "evaluates": str, "out": str, "python": str}
"""The kind of each setting of the command, by name."""
SETTINGS = (
    ("weights=NAME", "best, last, or the name of a checkpoint; the best if the run keeps one, else the last"),
    ("evaluates=SPLIT", "another split of the task's data, such as test, or several: [val,test]"),
    ("out=FILE", "write the metrics there too, as JSON, with all digits"),
    ("python=FILE", "an interpreter that has the engine of an export"),
    ("device=, batch_size=, evaluate.batches=, bad_data=", "as in training"),
    ("task.NAME=, plugins.NAME.SETTING=", "other settings of the run, such as task.root=DIR"),
)


def complete_words(words: Sequence[str], word: str) -> list[Row]:
    """Return run directories for the first word, and settings for all others."""
    settings = dict.fromkeys([*own_candidates(KINDS, word), *override_candidates(words, word)]) if words else {}
    return [*settings, *(path_candidates(word) if len(words) < 2 and "=" not in word else [])]


USAGE = Usage(
    "evaluate",
    "Evaluate the weights that a run keeps on its held-out data, by the code by which the run evaluated itself: on the same data "
    "the metrics are those of the run, bit for bit. Nothing is written into the run.",
    ("RUN [OTHER] [--json] [SETTING=VALUE ...]",),
    (Flag(("--json",), "print one JSON document, and nothing else"),),
    examples=(
        ("RUN", "the best weights, or the last"),
        ("RUN weights=last device=cpu", "the last, on a CPU"),
        ("RUN evaluates=test task.root=DIR", "another split, of other data"),
        ("RUN/checkpoints/NAME.pt", "one checkpoint"),
        ("RUN/export/onnx", "an export, by its own engine"),
        ("RUN RUN/export/onnx", "both, on the data of the first, and how far they differ"),
    ),
    sections=(("Settings", SETTINGS),),
    complete=complete_words,
    notes="A run of several processes is evaluated by one too; torchrun -m accel evaluate RUN takes several.",
    settings=True,
)


def main(arguments: Sequence[str]) -> int:
    """Evaluate a run; return the exit code. Raise ConfigError if that cannot work."""
    args = USAGE.parse(arguments)
    if args.help or not args.words:
        return USAGE.show_page(args.help)
    path = require_path(args.words[0], USAGE.command)
    words = args.words[1:]
    other = second_path(words)
    settings, overrides = split_words(words, KINDS)
    from accel.cli.saved.evaluation_console import run_evaluation

    return run_evaluation([path] if other is None else [path, other], settings, overrides, args.json)
