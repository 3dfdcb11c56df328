"""How often `accel ablate` calls equal runs different, and how often it sees one that is 5 % slower: real runs of this machine.

python benchmarks/ablate.py                                              # a table
python benchmarks/ablate.py --out benchmarks/results/DATE-ablate.json    # and the results beside it
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import machine
import torch
from results import save
from spread import shown, spread

from accel.cli.compose.compose import compose
from accel.compare import NEGLIGIBLE, Limits, SpeedRatio, decide, interleave
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.trial_request import trial_request
from accel.parts import Window
from accel.report.other_load import OtherLoad
from accel.system.stop_signals import StopSignals

PACKAGES = ["torch", "numpy", "accel-train"]
EVERY = 20
"""The slower run makes each of so many updates twice: 5 % more work, however fast the machine is at the moment."""
TASKS = {"digits": ["task=digits"], "digits, four batches in one": ["task=digits", "batch_size=128"]}


class EqualWork(Arm):
    """An arm whose windows have a multiple of `EVERY` updates."""

    def calibrate(self) -> None:
        super().calibrate()
        self.updates = EVERY * -(-self.updates // EVERY)


class MoreWork(EqualWork):
    """An arm that makes each `EVERY`-th update twice, and counts it once."""

    made = 0

    def make_update(self, windows: Iterator[Window]) -> int:
        self.made += 1
        if self.made % EVERY == 0:
            super().make_update(windows)
        return super().make_update(windows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30, help="pairs of equal runs, and as many of which one is slower")
    parser.add_argument("--seconds", type=float, default=45.0, help="for each comparison, about, as accel ablate --seconds")
    parser.add_argument("--minutes", type=float, default=120.0, help="no pair is begun after so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    head = machine.facts(threads=args.threads, packages=PACKAGES)
    load, until, pairs = OtherLoad(), perf_counter() + 60 * args.minutes, []
    for number in range(args.pairs):
        for kind, arm in (("equal", EqualWork), ("5 % more work", MoreWork)):
            if perf_counter() < until:
                pairs.append(pair(number, kind, arm, args.seconds))
    result = {
        "schema": 1, "benchmark": "ablate", "unit": "times as fast", **head, "pairs": args.pairs, "seconds": args.seconds,
        "others percent": load.percent(), "negligible": NEGLIGIBLE, "comparisons": pairs,
    }  # fmt: skip
    save(result, table(result), args.out)


def pair(number: int, kind: str, other: type[Arm], seconds: float) -> dict[str, Any]:
    """The comparison of two runs that are built for it, and given up after it."""
    task = list(TASKS)[number % len(TASKS)]
    trainer = compose([*TASKS[task], "device=cpu", f"seed={number}"]).trainer(out=None, watch=())
    request, began = trial_request(trainer._request(), ()), perf_counter()
    with StopSignals(at_once=True) as signals, closing(EqualWork(request, signals)) as one, closing(other(request, signals)) as two:
        one.calibrate()
        two.calibrate()
        two.updates = one.updates
        speed = interleave(one.window, two.window, Limits(seconds=seconds))
    print(f"{number} {kind}: {shown_ratio(speed)}, {decide(speed)}", flush=True)
    return {
        "task": task, "kind": kind, "ratio": speed.ratio, "low": speed.low, "high": speed.high, "rounds": speed.rounds,
        "update ms": 1000 * one.update_seconds, "seconds": perf_counter() - began, "verdict": decide(speed),
    }  # fmt: skip


def shown_ratio(speed: SpeedRatio) -> str:
    return f"{speed.ratio:.4f} ({speed.low:.4f} .. {speed.high:.4f}), {speed.rounds} rounds"


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# What accel ablate sees",
        "",
        f"Real runs, built in pairs in one process and timed in turns as `accel ablate` does it, {result['seconds']:g} seconds "
        f"each at most but for the least number of rounds. Of equal pairs both runs do the same; of the others one makes each "
        f"{EVERY}th update twice, so that it is 1 / 1.05 = 0.952 times as fast. *called*: how many have the verdict. Ratios and "
        "widths of the bounds: median (10th .. 90th percentile).",
        "",
        f"{machine.sentence(result)} Other processes took {result['others percent'] or 0.0:.0f} % of the cores.",
        "",
        "| pairs | n | called neutral | called harmful | called keep | times as fast | bounds, high / low - 1 | rounds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(one["kind"] for one in result["comparisons"]):
        rows = [one for one in result["comparisons"] if one["kind"] == kind]
        verdicts = [one["verdict"] for one in rows]
        widths = [one["high"] / one["low"] - 1 for one in rows]
        called = " | ".join(str(verdicts.count(verdict)) for verdict in ("neutral", "harmful", "keep"))
        ratios, rounds = shown(spread([one["ratio"] for one in rows]), 3), median(one["rounds"] for one in rows)
        lines.append(f"| {kind} | {len(rows)} | {called} | {ratios} | {shown(spread(widths), 3)} | {rounds:g} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
