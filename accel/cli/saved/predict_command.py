"""The subcommand `predict`: predictions of files by the model of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from accel.cli.arguments import Usage
from accel.cli.completion.path_candidates import path_candidates
from accel.cli.help_page import Row
from accel.cli.saved.own_words import check_words, own_candidates, require_path, split_words
from accel.errors import ConfigError
from accel.values import Count

__all__ = ["KINDS", "USAGE", "Format", "complete_words", "main"]

Format = Literal["table", "jsonl", "csv"]
KINDS: dict[str, Any] = {"format": Format, "top": Count, "weights": str, "batch_size": Count, "device": str, "python": str}
"""The kind of each setting of the command, by name."""
SETTINGS = (
    ("format=table", "table, jsonl (an object a line) or csv"),
    ("top=1", "so many classes of each file, the likeliest first"),
    ("weights=NAME", "best, last, or the name of a checkpoint; the best if the run keeps one, else the last"),
    ("batch_size=32", "files that are predicted together; names from - are answered as often"),
    ("device=auto", "auto, cpu, cuda, one device such as cuda:1, mps or xpu"),
    ("python=FILE", "an interpreter that has the engine of an export"),
)


def complete_words(words: Sequence[str], word: str) -> list[Row]:
    """Return paths, and behind the run the settings too."""
    return [*(own_candidates(KINDS, word) if words else []), *path_candidates(word)]


USAGE = Usage(
    "predict",
    "Predict what is in files, by the model of a run: pictures for the tasks digits and images, text for the task text, and "
    "whatever sample_of(path) of a task of your own reads. No data of the run is needed.",
    ("RUN [OTHER] FILE|DIR|- ... [SETTING=VALUE ...]",),
    examples=(
        ("RUN cat.jpg dog.jpg", "a line for each, in order"),
        ("RUN DIR top=3 format=csv", "all files in a folder, its folders too"),
        ("RUN/export/onnx DIR", "by an export, and its own engine"),
        ("RUN RUN/export/onnx DIR", "by both, and whether they agree"),
        ("RUN - format=jsonl batch_size=1", "names from standard input, a line each"),
    ),
    sections=(("Settings", SETTINGS),),
    complete=complete_words,
    notes="A file that cannot be read is a line on standard error; the others are predicted, and the exit code is 1.",
    settings=True,
)


def main(arguments: Sequence[str]) -> int:
    """Predict files; return the exit code. Raise ConfigError if that cannot work."""
    args = USAGE.parse(arguments)
    if args.help or not args.words:
        return USAGE.show_page(args.help)
    path = require_path(args.words[0], USAGE.command)
    settings, words = split_words(args.words[1:], KINDS)
    check_words(words, KINDS, USAGE.command)
    other = Path(words[0]).expanduser() if words else None
    paths = [path]
    if other is not None and any(os.path.isfile(other / name) for name in ("card.json", "plan.json")):  # no folder of samples
        paths.append(other)
        words = words[1:]
    if not words:
        raise ConfigError(f"predict takes files behind the run: {USAGE.program} {args.words[0]} FILE, a folder, or - for names")
    from accel.cli.saved.prediction_console import run_predictions

    return run_predictions(paths, settings, words)
