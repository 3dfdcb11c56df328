"""What a small network is after each way of compressing it while it trains, on CIFAR-10: beside itself, and its teacher.

python benchmarks/ship.py ROOT                                         # a table; ROOT/train/<class>/*.jpg, ROOT/test/<class>/*.jpg
python benchmarks/ship.py ROOT --out benchmarks/results/DATE-ship.json     # and the results beside it
python benchmarks/ship.py ROOT --seeds 1 --epochs 1 --arms distilled pruned    # some arms, and those that they need
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import machine
from integer_cost import integer_cost
from results import save
from ship_arms import ARMS, PLAIN, PLUGINS, TEACHER, with_needs
from ship_table import table, verdicts
from shipped_cost import ROUNDS, cost, latencies, shipped_file

import accel
from accel.cli.saved import evaluate_command
from accel.parts import Run, Watch
from accel.report.other_load import OtherLoad

PACKAGES = ["torch", "accel-train", "pillow", "torch-pruning", "torchao"]
SIDE = 32


@dataclass(eq=False)
class Began(Watch):
    """Keeps when everything was set up, and the first update began."""

    when: float = 0.0

    def begin(self, run: Run) -> None:
        self.when = perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder of the pictures")
    parser.add_argument("--seeds", type=int, default=3, help="each arm is run so often; all have one teacher")
    parser.add_argument("--epochs", type=int, help="of all arms; default: each has its own")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="some of them, and those that they need")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each model has its turn when latencies are measured")
    parser.add_argument("--work", type=Path, help="keep the run directories in this folder; default: a temporary one")
    parser.add_argument("--run", metavar="ARM", help=argparse.SUPPRESS)  # one run, in a process of its own
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    if args.run:
        print(json.dumps(trained(args.run, args.root, args.work, args.seed, args.epochs)))
        return
    with TemporaryDirectory() as folder:
        args.work = args.work or Path(folder)
        result = compared(args)
    save(result, table(result), args.out)
    if failed := [name for name, arm in result["arms"].items() if "failed" in arm]:
        sys.exit(f"failed: {', '.join(failed)}")


def compared(args: argparse.Namespace) -> dict[str, Any]:
    """Run all arms, and return the results. The teacher runs once; of a seed plain comes first, then the others in random order."""
    head, load, began = machine.facts(threads=None, packages=PACKAGES), OtherLoad(), perf_counter()
    names = with_needs(args.arms)
    left_out = {name: reason for name in names if (reason := ARMS[name].missing())}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names if name not in left_out}
    failed: dict[str, str] = {}
    rng = random.Random(0)
    for seed in range(args.seeds):
        first = [name for name in (TEACHER, PLAIN) if name in runs and (name == PLAIN or seed == 0)]
        others = [name for name in runs if name not in (TEACHER, PLAIN)]
        for name in [*first, *rng.sample(others, len(others))]:
            if name in failed:
                continue
            found = apart(name, args, seed)
            if isinstance(found, str):
                if name in (TEACHER, PLAIN):
                    sys.exit(f"{name}, seed {seed}: {found}")
                failed[name] = f"seed {seed}: {found}"
            else:
                runs[name].append(found)
    done = {name: each for name, each in runs.items() if each and name not in failed}
    arms: dict[str, dict[str, Any]] = {
        name: summed(name, args.epochs, each) | cost(run_directory(args.work, name, 0), SIDE) for name, each in done.items()
    }
    shipped = {name: run_directory(args.work, name, 0) for name in arms}
    for name, times in latencies(shipped, SIDE, cores(), args.rounds).items():
        arms[name]["latency"] = times
    arms |= {name: {"not run": reason} for name, reason in left_out.items()}
    arms |= {name: {"failed": reason} for name, reason in failed.items()}
    arms = {name: {"about": ARMS[name].about, **arms[name]} for name in names}
    seconds = round(perf_counter() - began, 1)
    return {
        "schema": 1, "benchmark": "ship", **head, "repetitions": args.seeds, "epochs": args.epochs, "seconds": seconds,
        "others percent": load.percent(), "arms": arms, "verdicts": verdicts(arms),
    }  # fmt: skip


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_directory(work: Path, name: str, seed: int) -> Path:
    """The run directory of an arm. There is one teacher, for all seeds."""
    return work.resolve() / f"{name}-{0 if name == TEACHER else seed}"


def apart(name: str, args: argparse.Namespace, seed: int) -> dict[str, Any] | str:
    """Return one run in a process of its own, or how it failed."""
    words = [sys.executable, __file__, str(args.root), "--run", name, "--seed", str(seed), "--work", str(args.work)]
    words += [] if args.epochs is None else ["--epochs", str(args.epochs)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name}, seed {seed} failed: {done.stderr[-2000:]}", file=sys.stderr, flush=True)
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}, seed {seed}: {found['accuracy']:.4f}, {found['training']} s", file=sys.stderr, flush=True)
    return found


def trained(name: str, root: Path, work: Path, seed: int, epochs: int | None = None) -> dict[str, Any]:
    """Train one arm into its run directory, and evaluate what it ships, in float32.

    The pictures are decoded in the first run, and kept beside the run directories for the others.
    """
    out = run_directory(work, name, seed)
    words = filled(ARMS[name].overrides(epochs), {each: run_directory(work, each, seed) for each in (TEACHER, PLAIN)})
    words += ["device=cpu", f"task.root={root.resolve()}", f"plugins.resident.cache={work.resolve() / 'pictures'}"]
    words += [f"seed={seed}", f"out={out}"]
    watch = Began()
    trainer = accel.compose(words).trainer(watch=[watch])
    started, cpu = perf_counter(), process_time()
    result = trainer.fit()
    ended, cpu = perf_counter(), process_time() - cpu
    metrics = work / f"{out.name}.json"
    code = evaluate_command.main([str(shipped_file(out)), *(["~plugins.amp"] if "amp" in PLUGINS else []), f"out={metrics}"])
    if code:
        sys.exit(code)
    integers = integer_cost(out, SIDE, trainer) if "qat" in ARMS[name].plugins else {}
    return {
        **integers, "seed": seed, "accuracy": round(json.loads(metrics.read_text())["metrics"]["accuracy"], 4),
        "trained accuracy": round(result.metrics["accuracy"], 4), "updates": result.updates,
        "opening": round(watch.when - started, 2), "training": round(ended - watch.when, 2), "cpu_seconds": round(cpu, 1),
    }  # fmt: skip


def filled(words: list[str], folders: dict[str, Path]) -> list[str]:
    """Overrides with the directories of other runs in them."""
    for name, folder in folders.items():
        words = [word.replace(f"{{{name}}}", str(folder)) for word in words]
    return words


def summed(name: str, epochs: int | None, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one arm together: means, and standard deviations where there are several."""
    found: dict[str, Any] = {"overrides": ARMS[name].overrides(epochs), "n": len(runs), "runs": runs}
    for key in ("accuracy", "training"):
        values = [run[key] for run in runs]
        found[key] = {"mean": round(mean(values), 4), "stdev": round(stdev(values), 4) if len(values) > 1 else None}
    return found


if __name__ == "__main__":
    main()
