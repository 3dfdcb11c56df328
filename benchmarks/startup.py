"""How long a user waits: from a command to its first update, and for answers that need no training.

    python benchmarks/startup.py --out benchmarks/results/2026-11-20-startup.json

Every repetition runs every command once, in a random order, each in a process of its own and in an empty folder.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import machine
from results import save
from spread import shown, spread

PACKAGES = ["torch", "accel-train", "hydra-core", "scikit-learn"]
BASE, FIRST = "import torch", "first update"
COMMANDS: dict[str, tuple[list[str], int]] = {
    BASE: (["-c", "import torch"], 0),
    FIRST: (["-m", "accel.train", "dry_run=true"], 0),
    "first update, six plugins": (["-m", "accel.train", "+plugins=[amp,onecycle,accumulate,clip,adamw,ema]", "dry_run=true"], 0),
    "help": (["-m", "accel.train", "--help"], 0),
    "list of plugins": (["-m", "accel", "plugins"], 0),
    "page of a plugin": (["-m", "accel", "plugins", "amp"], 0),
    "resolved config": (["-m", "accel.train", "--cfg", "job"], 0),
    "misspelt plugin": (["-m", "accel.train", "+plugins=[amq]"], 2),
    "wrong value": (["-m", "accel.train", "+plugins=[amp]", "plugins.amp.dtype=float8"], 2),
}
"""The arguments of python, and the exit code that they must end with."""
OVER, ANSWER = 1.5, 0.6
"""Seconds, at most: from command to the first update beyond importing torch; and for an answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=7, help="repetitions, after one that warms the disk cache and is not counted")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS), metavar="NAME", help=", ".join(COMMANDS))
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    head = machine.facts(threads=None, packages=PACKAGES)
    for name in args.only:
        seconds(name)
    times: dict[str, list[float]] = {name: [] for name in args.only}
    rng = random.Random(0)
    for _ in range(args.reps):
        for name in rng.sample(args.only, len(args.only)):
            times[name].append(seconds(name))
    result = {
        "schema": 1, "benchmark": "startup", "unit": "seconds", **head,
        "repetitions": args.reps, "targets": {"first update over import torch": OVER, "answers": ANSWER},
        "commands": {name: case_of(name, times) for name in args.only},
    }  # fmt: skip
    save(result, table(result), args.out)


def seconds(name: str) -> float:
    """Runs one command to its end. Raises SystemExit where it ends with another exit code than it must."""
    arguments, code = COMMANDS[name]
    with TemporaryDirectory() as folder:
        started = perf_counter()
        done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        took = perf_counter() - started
    if done.returncode != code:
        said = done.stdout[-2000:] + done.stderr[-2000:]
        sys.exit(f"python {' '.join(arguments)} ended with {done.returncode}, not {code}:\n{said}")
    return took


def case_of(name: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """The results of one command; where the first update counts, also beyond importing torch in the same repetition."""
    ours, typed = times[name], " ".join(["python", *COMMANDS[name][0]])
    found = {"command": typed, "n": len(ours), "time": spread(ours), "times": [round(took, 3) for took in ours]}
    if name.startswith(FIRST) and BASE in times:
        found["over"] = spread([our - base for our, base in zip(ours, times[BASE], strict=True)])
    return found


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Start-up",
        "",
        "Seconds from the command to the end of its process: median (10th .. 90th percentile). *First update* is a dry run on the "
        "digits, which builds all, makes one update and ends; *over* is the difference to `import torch` in the same repetition "
        f"(target: {OVER:g}). Answers do not import torch (target: {ANSWER:g}).",
        "",
        machine.sentence(result),
        "",
        f"n = {result['repetitions']}",
        "",
        "| what | command | time | over |",
        "|---|---|---|---|",
    ]
    for name, found in result["commands"].items():
        over = shown(found["over"], 2, sign=True) if "over" in found else ""
        lines.append(f"| {name} | `{found['command']}` | {shown(found['time'], 2)} | {over} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
