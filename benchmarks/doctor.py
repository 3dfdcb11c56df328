"""What `accel doctor` predicts of remedies, and what they bring: real runs of this machine, in processes that take turns.

python benchmarks/doctor.py                                              # a table
python benchmarks/doctor.py --out benchmarks/results/DATE-doctor.json    # and the results beside it
python benchmarks/doctor.py --folders cifar10 photographs --text FILE    # and runs of your own folders of pictures and of a text
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import machine
import torch
from results import save

from accel.cli.ablate.ablate_console import make_trainer
from accel.cli.compose.compose import compose
from accel.compare import Limits, interleave
from accel.diagnose.decision.remedies import Remedy
from accel.diagnose.diagnosis import Diagnosis
from accel.diagnose.doctor import doctor
from accel.diagnose.trials.timed_arms import arm_apart
from accel.errors import ConfigError, TrainingError
from accel.report.other_load import OtherLoad
from accel.report.result import finite

PACKAGES = ["torch", "numpy", "pillow", "accel-train"]
NEAR, FAR = 0.15, 0.30
"""Relative errors of a prediction: within the first it holds, beyond the second it misleads."""
UNSEEN = ("evaluate_less", "checkpoint_less")
"""Remedies of what is no update, which windows of updates do not see."""
CASES: dict[str, Callable[[Path], list[str]]] = {
    "digits": lambda folder: ["task=digits"],
    "digits, batches of 4": lambda folder: ["task=digits", "batch_size=4"],
    "JPEGs of 256 x 256, Pillow": lambda folder: ["task=images", f"task.root={pictures(folder)}"],
    "the same, resident": lambda folder: ["task=images", f"task.root={pictures(folder)}", "+plugins=[resident]"],
    "GPT on bytes": lambda folder: ["task=text", f"task.path={text(folder)}", "task.context=64", "task.width=64", "task.layers=2"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="of measuring, as accel doctor --seconds")
    parser.add_argument("--trial", type=float, default=30.0, help="seconds for each remedy that is tried, about")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), help="some of the cases")
    parser.add_argument("--folders", nargs="*", default=[], type=Path, help="folders with train/CLASS/*.jpg and test/CLASS/*.jpg")
    parser.add_argument("--text", type=Path, help="a file of text, for a GPT")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    load, rows = OtherLoad(), []
    with tempfile.TemporaryDirectory() as folder:
        cases = {name: CASES[name](Path(folder)) for name in args.cases} | own_cases(args.folders, args.text)
        for name, words in cases.items():
            rows += measure(name, words, args.seconds, args.trial)
    head = machine.facts(threads=torch.get_num_threads(), packages=PACKAGES)
    result = {"schema": 1, "benchmark": "doctor", "others_percent": load.percent(), **head, "rows": rows}
    save(finite(result), table(result), args.out)


def own_cases(folders: Sequence[Path], text: Path | None) -> dict[str, list[str]]:
    """The runs of folders and a file that the caller has, by name."""
    cases = {f"{folder.name}, JPEG": ["task=images", f"task.root={folder}"] for folder in folders}
    return cases | ({f"GPT on {text.name}": ["task=text", f"task.path={text}"]} if text else {})


def measure(name: str, words: Sequence[str], seconds: float, trial: float) -> list[dict[str, Any]]:
    """Diagnose a run, and try each remedy that has a prediction against the run as it is."""

    def make(more: Sequence[str]) -> Callable[[], Any]:
        return partial(make_trainer, compose([*words, *more]))

    read_once([Path(word.partition("=")[2]) for word in words if word.startswith(("task.root=", "task.path="))])
    trainer = make([])()
    trainer.command = "python -m accel.train"
    diagnosis = doctor(trainer, seconds=seconds, say=lambda line: print(f"{name}: {line}", flush=True))
    limits = Limits(min_rounds=8, max_rounds=40, width=0.06, seconds=trial)
    rows = [row(name, diagnosis, None, None)]
    with arm_apart(make([])) as base:
        for remedy in diagnosis.remedies:
            if remedy.of_updates is None or not remedy.change.words or remedy.change.name in UNSEEN:
                continue
            print(f"{name}: {remedy.change.typed}", flush=True)
            try:
                with arm_apart(make(remedy.change.words)) as other:
                    rows.append(row(name, diagnosis, remedy, asdict(interleave(base.window, other.window, limits))))
            except (ConfigError, TrainingError) as error:
                print(f"    {error}")
    return rows


def read_once(paths: Sequence[Path]) -> None:
    """Read every file of the data, so that predictions and measurements meet it in memory, as an epoch after the first does."""
    for path in paths:
        for file in [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]:
            file.read_bytes()


def row(name: str, diagnosis: Diagnosis, remedy: Remedy | None, measured: dict[str, Any] | None) -> dict[str, Any]:
    """One line of the table: a case with its verdict, or a remedy with its prediction and its measurement."""
    if remedy is None or measured is None or remedy.of_updates is None:
        return {"case": name, "verdict": diagnosis.verdict.sentence, "split": diagnosis.split.seconds, "seconds": diagnosis.seconds}
    predicted = asdict(remedy.of_updates)
    return {
        "case": name, "remedy": remedy.change.typed, "predicted": predicted, "measured": measured,
        "error": predicted["middle"] / measured["ratio"] - 1,
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    tried = [one for one in result["rows"] if "remedy" in one]
    near = sum(abs(one["error"]) <= NEAR for one in tried)
    far = sum(abs(one["error"]) > FAR for one in tried)
    others = "unknown" if result["others_percent"] is None else f"{result['others_percent']:.0f} %"
    lines = [
        "# What the doctor predicts, and what comes of it", "",
        "Times as fast as the run as it is, of updates alone, with bounds; each remedy by itself, the two runs in processes of "
        f"their own that take turns. Within {NEAR:.0%}: {near} of {len(tried)}; beyond {FAR:.0%}: {far}. Other processes took "
        f"{others} of the cores meanwhile.", "",
        machine.sentence(result), "", "| case | remedy | predicted | measured | error |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for one in tried:
        predicted, measured = bounded(one["predicted"], "middle"), bounded(one["measured"], "ratio")
        lines.append(f"| {one['case']} | `{one['remedy']}` | {predicted} | {measured} | {one['error']:+.0%} |")
    lines += ["", "| case | verdict | the diagnosis took |", "|---|---|---|"]
    lines += [f"| {one['case']} | {one['verdict']} | {one['seconds']:.0f} s |" for one in result["rows"] if "verdict" in one]
    return "\n".join(lines) + "\n"


def bounded(values: dict[str, Any], middle: str) -> str:
    """A number and its bounds."""
    return f"{values[middle]:.2f} ({values['low']:.2f} .. {values['high']:.2f})"


def pictures(folder: Path) -> Path:
    """A folder of 640 JPEGs in two classes, made once: smooth noise, so that they are as large as photographs of their size."""
    import numpy as np
    from PIL import Image

    root, rng = folder / "pictures", np.random.default_rng(0)
    for split, count in (("train", 256), ("test", 64)):
        for name in ("one", "other"):
            place = root / split / name
            if place.exists():
                continue
            place.mkdir(parents=True)
            for number in range(count):
                small = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
                Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC).save(place / f"{number}.jpg", quality=90)
    return root


def text(folder: Path) -> Path:
    """A file of 200,000 bytes that a model can learn something of."""
    file = folder / "text"
    file.write_bytes(b"".join(b"%d and %d make %d. " % (one, one + 7, 2 * one + 7) for one in range(8000)))
    return file


if __name__ == "__main__":
    main()
