"""Seconds to a stated test accuracy on CIFAR-10, from its JPEG files: a plain recipe against one of plugins, the same network.

python benchmarks/cifar10.py ROOT                                      # a table; ROOT/train/<class>/*.jpg, ROOT/test/<class>/*.jpg
python benchmarks/cifar10.py ROOT --out benchmarks/results/DATE-cifar10.json    # and the results beside it
python benchmarks/cifar10.py ROOT --search                             # what the plain recipe was chosen from
python benchmarks/cifar10.py ROOT --device cuda                        # to 94 %, with the full network: +experiment=cifar10_94
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter, process_time
from typing import Any

import machine
import torch
from results import save
from spread import shown, spread

import accel
from accel.parts import Run, Watch
from accel.system.clock import DATA, EVALUATION

PACKAGES = ["torch", "accel-train", "pillow"]
PLAIN, RECIPE = "plain", "recipe"
TARGETS = {"cpu": 0.70, "cuda": 0.94}
"""The accuracy to reach on the 10,000 test pictures."""
RATIO = 3.0
"""How many times as long the plain recipe must take."""
SEARCHED = 100
"""The seed of the search, which no measured run has."""
SEARCH = [[f"plugins.sgd.lr={rate}", f"epochs={epochs}"] for epochs in (3, 4, 5) for rate in (0.05, 0.1, 0.2)]
"""What the plain recipe is tried with."""
ARMS: dict[str, dict[str, list[str]]] = {
    "cpu": {
        PLAIN: [
            "task=images", "task.model=airnet_s", "task.crop=none", "+plugins=[sgd,cosine]", "plugins.sgd.lr=0.1",
            "plugins.sgd.weight_decay=5.0e-4", "batch_size=128", "epochs=4",
        ],
        RECIPE: [
            "task=images", "task.model=airnet_s", "+plugins=[resident,amp,channels_last,muon,onecycle]",
            "plugins.resident.flip=alternate", "plugins.resident.pad=0", "plugins.muon.lr=0.1", "plugins.muon.adamw_lr=0.02",
            "plugins.muon.momentum=0.8", "plugins.muon.weight_decay=0.0", "plugins.onecycle.max_lr=0.1",
            "plugins.onecycle.anneal=linear", "plugins.onecycle.pct_start=0.23", "plugins.onecycle.div_factor=5.0",
            "batch_size=128", "epochs=2",
        ],
    },
    "cuda": {
        PLAIN: [
            "task=images", "task.model=airnet", "task.views=6", "+plugins=[sgd,cosine]", "plugins.sgd.lr=0.1",
            "plugins.sgd.weight_decay=5.0e-4", "batch_size=128", "epochs=20",
        ],
        RECIPE: ["+experiment=cifar10_94", "plugins.resident.cache=null"],
    },
}  # fmt: skip
"""What both arms are on the command line. Evaluation is the same in both: one view of each picture on a CPU, six on CUDA."""


class Reached(Exception):
    """The target is reached, and nothing more has to be trained."""


@dataclass(eq=False)
class Until(Watch):
    """Stops the run at the first evaluation that reaches the target, and keeps when each ended."""

    target: float = 1.0

    def begin(self, run: Run) -> None:
        self.clock, self.opened = run.clock, perf_counter()
        self.history: list[tuple[float, float]] = []

    def evaluated(self, epoch: int, metrics: dict[str, float]) -> None:
        now = perf_counter()
        self.history.append((now, metrics["accuracy"]))
        self.evaluation = self.clock.spent[EVALUATION] + now - self.clock.since
        if metrics["accuracy"] >= self.target:
            raise Reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder of the pictures")
    parser.add_argument("--seeds", type=int, default=3, help="each arm is run so often; the arms take turns in random order")
    parser.add_argument("--target", type=float, help=f"the accuracy to reach; default {TARGETS}")
    parser.add_argument("--device", choices=ARMS, default="cpu", help="cuda takes the full network")
    parser.add_argument("--search", action="store_true", help="the plain recipe at other rates and lengths, once each")
    parser.add_argument("--run", metavar="ARM", help=argparse.SUPPRESS)  # one run, in a process of its own
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    args.target = TARGETS[args.device] if args.target is None else args.target
    if args.run:
        print(json.dumps(timed(args.run, args.device, args.root, args.seed, args.target)))
        return
    if args.search:
        for words in SEARCH:
            apart(" ".join([PLAIN, *words]), args.device, args.root, SEARCHED, args.target)
        return
    head = machine.facts(threads=None, packages=PACKAGES)
    arms = ARMS[args.device]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    rng = random.Random(0)
    for seed in range(args.seeds):
        for name in rng.sample(list(arms), len(arms)):
            runs[name].append(apart(name, args.device, args.root, seed, args.target))
    result = {
        "schema": 1, "benchmark": "cifar10", "unit": "seconds", **head, "device": device(args.device), "repetitions": args.seeds,
        "target": args.target, "target_ratio": RATIO, "arms": {name: summed(arms[name], found) for name, found in runs.items()},
    }  # fmt: skip
    result["ratios"] = ratios(runs)
    save(result, table(result), args.out)


def device(kind: str) -> str:
    """What it ran on."""
    return torch.cuda.get_device_name() if kind == "cuda" else "CPU"


def apart(name: str, kind: str, root: Path, seed: int, target: float) -> dict[str, Any]:
    """One run in a process of its own. Raises SystemExit where it fails."""
    words = [sys.executable, __file__, str(root), "--run", name, "--device", kind, "--seed", str(seed), "--target", str(target)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}, seed {seed}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{name}, seed {seed}: {found['seconds']} s, {found['epochs']} epochs, {found['accuracy']:.4f}", file=sys.stderr, flush=True
    )
    return found


def timed(name: str, kind: str, root: Path, seed: int, target: float) -> dict[str, Any]:
    """One run, from before its data is opened to the end of the evaluation that first reaches the target.

    Opening includes all that a run does before its first update: finding and, with `resident`, decoding the files (no cache is
    used), and setting the first convolution from pictures. Importing torch is not counted, in either arm.

    Args:
        name: of the arm, and whatever is to be set otherwise in it, with spaces between.
    """
    arm, *more = name.split()
    words = [*ARMS[kind][arm], f"device={kind}", f"task.root={root.resolve()}", f"seed={seed}", *more]
    until = Until(target)
    trainer = accel.compose(words).trainer(watch=[until])
    started, cpu = perf_counter(), process_time()
    with suppress(Reached):
        trainer.fit()
    cpu = process_time() - cpu
    history = [{"seconds": round(when - started, 3), "accuracy": round(accuracy, 4)} for when, accuracy in until.history]
    trained = until.history[-1][0] - until.opened - until.evaluation
    return {
        "seed": seed, "seconds": history[-1]["seconds"] if history[-1]["accuracy"] >= target else None,
        "cpu_seconds": round(cpu, 1),
        "accuracy": history[-1]["accuracy"], "epochs": len(history), "opening": round(until.opened - started, 3),
        "training": round(trained, 3), "evaluation": round(until.evaluation, 3), "data": round(until.clock.spent[DATA], 3),
        "data_share": round(100 * until.clock.spent[DATA] / trained, 2), "history": history,
    }  # fmt: skip


def summed(words: list[str], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one arm together; no time where one of them did not reach the target."""
    times = [run["seconds"] for run in runs]
    found: dict[str, Any] = {"overrides": words, "n": len(runs), "runs": runs}
    if None not in times:
        found |= {"mean": round(mean(times), 2), "stdev": round(stdev(times), 2) if len(times) > 1 else 0.0, "time": spread(times)}
    return found


def ratios(runs: dict[str, list[dict[str, Any]]]) -> dict[str, float] | None:
    """How many times the seconds of the recipe the plain one takes, seed by seed."""
    pairs = [(plain["seconds"], ours["seconds"]) for plain, ours in zip(runs[PLAIN], runs[RECIPE], strict=True)]
    return None if any(None in pair for pair in pairs) else spread([plain / ours for plain, ours in pairs])


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    found = result["ratios"]
    ratio = "no stated number of" if found is None else shown(found)
    lines = [
        "# Time to accuracy on CIFAR-10",
        "",
        f"Seconds to {result['target']:.0%} on the 10,000 test pictures (each seen once), from 50,000 JPEG files: from before the "
        "files are found to the end of the evaluation that first reaches it. Decoding and evaluation count in both arms; importing "
        "torch counts in neither. The same network in both, whitening included. *data* is how much of the training time, between "
        "opening and the last evaluation, evaluations left out, updates waited for their pictures. Each run is a process of its "
        f"own; the arms take turns in random order. On {result['device']}.",
        "",
        machine.sentence(result),
        "",
        f"**The plain recipe takes {ratio} times as long** (median, 10th .. 90th percentile; target: {result['target_ratio']:g}).",
        "",
        "| arm | seed | seconds | epochs | accuracy | opening | training | evaluation | data |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in result["arms"].items():
        for run in arm["runs"]:
            seconds = "not reached" if run["seconds"] is None else f"{run['seconds']:.1f}"
            lines.append(
                f"| {name} | {run['seed']} | {seconds} | {run['epochs']} | {run['accuracy']:.4f} | {run['opening']:.1f} | "
                f"{run['training']:.1f} | {run['evaluation']:.1f} | {run['data_share']:.1f} % |"
            )
        if "mean" in arm:
            lines.append(f"| **{name}** | mean | **{arm['mean']:.1f}** (s = {arm['stdev']:.1f}) | | | | | | |")
    lines += ["", *(f"{name}: `{' '.join(arm['overrides'])}`\n" for name, arm in result["arms"].items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
