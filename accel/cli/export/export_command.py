"""The subcommand `export`: the model of a run for other engines, proven on held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accel.cli.arguments import Flag, Usage
from accel.cli.completion.override_candidates import override_candidates
from accel.cli.completion.path_candidates import path_candidates
from accel.cli.help_page import Row
from accel.cli.saved.own_words import own_candidates, require_path, split_words
from accel.export.all_targets import TARGETS
from accel.export.dynamic_sizes import Dynamic
from accel.export.quantisation.quantisation import Calibrate
from accel.export.quantisation.variant import Precision, Quantize
from accel.values import Count, Fraction, NonNegative, Positive

__all__ = ["KINDS", "USAGE", "complete_words", "main"]

KINDS: dict[str, Any] = {
    "target": str, "weights": str, "evaluates": str, "preprocess": bool, "dynamic": Dynamic, "opset": Count, "tolerance": Positive,
    "quantize": Quantize, "precision": Precision, "calibrate": Calibrate, "samples": Count, "sensitivity": bool,
    "max_drop": NonNegative, "agreement": Fraction, "seconds": NonNegative, "threads": str, "compiled": bool, "python": str,
    "time_limit": Positive, "fusion": bool,
}  # fmt: skip
"""The kind of each setting of the command, by name."""
SETTINGS = (
    ("target=onnx", f"{', '.join(TARGETS)}, [onnx,ort], or all that are installed"),
    ("preprocess=true", "8-bit pictures in: the graph normalises them"),
    ("dynamic=batch", "sizes that may change: batch, length, or none"),
    ("opset=20", "version of ONNX's operators"),
    ("quantize=static", "8 bits: none, dynamic, static, or weights"),
    ("precision=float16", "float32, bfloat16 or float16"),
    ("calibrate=minmax", "ranges for static: minmax, entropy, percentile"),
    ("samples=256", "of the training data, to calibrate with"),
    ("sensitivity=false", "measures no layer unless that is needed"),
    ("max_drop=0.5", "worst drop of the accuracy, in points"),
    ("tolerance=1e-4", "largest difference, of the largest output"),
    ("agreement=1", "share of the samples with the same top class"),
    ("seconds=4", "of timing for each target, about; 0 for none"),
    ("threads=1", "of a call, in timing; or several: [1,2]"),
    ("compiled=false", "time no torch.compile beside it"),
    ("python=FILE", "an interpreter that has the engine"),
    ("time_limit=900", "seconds that an engine may take to answer"),
    ("fusion=true", "tvm: whether operators are merged"),
    ("weights=, evaluates=, batch_size=, evaluate.batches=, task.NAME=", "as in evaluate"),
)


def complete_words(words: Sequence[str], word: str) -> list[Row]:
    """Return run directories for the first word, and settings for all others."""
    if not words:
        return path_candidates(word)
    if word.startswith("target="):
        return [(f"target={name}", "") for name in (*TARGETS, "all")]
    return list(dict.fromkeys([*own_candidates(KINDS, word), *override_candidates(words, word)]))


USAGE = Usage(
    "export",
    "Export the model of a run, load it anew by its own engine, and compare it with torch on held-out data. What computes "
    "something else is refused.",
    ("RUN [FLAG ...] [SETTING=VALUE ...]",),
    (
        Flag(("--check",), "prove the export in this folder, and write nothing", "DIR"),
        Flag(("--json",), "print one JSON document, and nothing else"),
    ),
    (
        ("RUN", "writes RUN/export/onnx"),
        ("RUN target=all", "all that are installed"),
        ("RUN preprocess=true task.root=DIR", "8-bit pictures in"),
        ("RUN --check RUN/export/onnx", "an export that is there"),
    ),
    sections=(("Settings", SETTINGS),),
    complete=complete_words,
    notes="Exit code 1: an export does not hold. What is not installed has not passed.",
    settings=True,
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Export a run; return the exit code. Raise ConfigError if that cannot work."""
    args = USAGE.parse(arguments)
    if args.help or not args.words:
        return USAGE.show_page(args.help)
    path = require_path(args.words[0], USAGE.command)
    settings, overrides = split_words(args.words[1:], KINDS)
    from accel.cli.export.export_console import run_export

    return run_export(path, args, settings, overrides)
