"""What a loop costs: microseconds per micro-batch over a hand-written loop that does the same work.

python benchmarks/overhead.py                                          # a table
python benchmarks/overhead.py --peers --out benchmarks/results/2026-11-20-overhead.json   # and the results beside it
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TTY_COMPATIBLE": "1", "TERM": "xterm-256color"}

import machine
import torch
from arms import BASE, OURS, WATCHED, Arm, find
from results import save
from spread import shown, spread
from torch import Tensor
from work import ACCUMULATE, CLIP, OPTIMS, WARM, Work

PACKAGES = ["torch", "accel-train", "lightning", "accelerate", "pytorch-ignite"]
Case = tuple[str, bool]
"""The optimiser, and whether everything is on."""
Time = tuple[float, float]
"""On the wall clock, and of this process."""
Times = dict[str, list[Time]]
"""By arm, one per repetition."""

TARGETS = {"nothing on": 15.0, "everything on": 40.0}
"""Microseconds per micro-batch over the hand-written loop, at most."""
SAME = 2e-3
"""Two trainings did the same work where their weights differ by less than this, of the way that the hand-written loop's went.

Rounding gives up to 7e-4 in 64 micro-batches; leaving out any one of the five plugins gives 1.4e-2 or more.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=15, help="repetitions; each runs every arm once, in a random order")
    parser.add_argument("--micro-batches", type=int, default=2048, help=f"timed in one run of one arm, after {WARM} that are not")
    parser.add_argument("--optim", nargs="+", choices=OPTIMS, default=list(OPTIMS))
    parser.add_argument("--peers", action="store_true", help="also the peers that are installed")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    if args.micro_batches < ACCUMULATE or args.micro_batches % ACCUMULATE:
        parser.error(f"--micro-batches must be a multiple of {ACCUMULATE}, the size of a window")
    torch.set_num_threads(1)
    head = machine.facts(threads=1, packages=PACKAGES)
    arms, missing = find(args.peers)
    cases = [(optim, on) for optim in args.optim for on in (False, True)]
    with silence():
        apart = {case: differences(arms, *case) for case in cases}
        times = measure(arms, cases, args.reps, args.micro_batches)
    result = {
        "schema": 1, "benchmark": "overhead", "unit": "microseconds per micro-batch", **head,
        "repetitions": args.reps, "micro_batches": args.micro_batches, "targets": TARGETS, "missing": missing,
        "cases": [case_of(*case, times[case], apart[case]) for case in cases],
    }  # fmt: skip
    save(result, table(result), args.out)


def differences(arms: dict[str, Arm], optim: str, on: bool) -> dict[str, float]:
    """How far each arm's weights lie from the hand-written loop's after 64 micro-batches, as a share of the way those went.

    Raises SystemExit for an arm that does less than, or something else than, the hand-written loop.
    """
    start = flat(list(Work(optim, on, timed=60, warm=0).model.parameters()))
    ends = {name: flat(arm(Work(optim, on, timed=60, warm=0))) for name, arm in arms.items()}
    way = (ends[BASE] - start).norm()
    found = {name: float((end - ends[BASE]).norm() / way) for name, end in ends.items()}
    for name, apart in found.items():
        if not apart < SAME:
            sys.exit(f"{name} does not do the work of the hand-written loop ({optim}, on={on}): its weights are {apart:.2g} apart")
        if name in (OURS, WATCHED) and not on and apart != 0:
            sys.exit(f"{name} with nothing on must be the hand-written loop to the bit ({optim}); weights are {apart:.2g} apart")
    return found


def flat(weights: list[Tensor]) -> Tensor:
    return torch.cat([weight.detach().double().flatten() for weight in weights])


def measure(arms: dict[str, Arm], cases: list[Case], reps: int, timed: int) -> dict[Case, Times]:
    """Microseconds per micro-batch of every arm in every case, once per repetition. Who runs after whom is drawn anew each time."""
    times: dict[Case, Times] = {case: {name: [] for name in arms} for case in cases}
    rng = random.Random(0)
    for _ in range(reps):
        for case in rng.sample(cases, len(cases)):
            for name in rng.sample(list(arms), len(arms)):
                work = Work(*case, timed=timed)
                gc.collect()
                arms[name](work)
                times[case][name].append((work.batches.wall / timed * 1e6, work.batches.cpu / timed * 1e6))
    return times


def case_of(optim: str, on: bool, times: Times, apart: dict[str, float]) -> dict[str, Any]:
    """The results of one case."""
    arms = {name: {"n": len(times[name]), **compared(times[name], times[BASE]), "apart": apart[name]} for name in times}
    return {"optim": optim, "case": "everything on" if on else "nothing on", "arms": arms}


def compared(ours: list[Time], base: list[Time]) -> dict[str, Any]:
    """The times of one arm, and how far they are over those of the hand-written loop in the same repetition."""
    pairs = list(zip(ours, base, strict=True))
    return {
        "wall": spread([our[0] for our in ours]),
        "wall_over": spread([our[0] - hand[0] for our, hand in pairs]),
        "cpu": spread([our[1] for our in ours]),
        "cpu_over": spread([our[1] - hand[1] for our, hand in pairs]),
        "wall_times": [round(our[0], 2) for our in ours],
        "cpu_times": [round(our[1], 2) for our in ours],
    }


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Overhead of the loop",
        "",
        "Microseconds per micro-batch: MLP 64-64-10, batch 32, one thread, the same batches in memory. *Nothing on* is forward, "
        f"backward and optimiser; *everything on* adds accumulation over {ACCUMULATE}, clipping at {CLIP:g}, OneCycle, bfloat16 "
        "and an average of the weights. Median (10th .. 90th percentile). *over* is the difference to the hand-written loop in the "
        "same repetition, on the wall clock and in CPU time of the process, which other programs disturb less; *hand again* is "
        "the control. *apart* is how far the weights are from the hand-written loop's after 64 micro-batches, as a share of the "
        "way those went.",
        "",
        machine.sentence(result),
    ]
    for case in result["cases"]:
        target = result["targets"][case["case"]]
        n = case["arms"][BASE]["n"]
        lines += ["", f"## {case['case'].capitalize()}, {case['optim']} (target: {target:g} over, n = {n})", ""]
        lines += ["| loop | time | over | over, CPU time | apart |", "|---|---|---|---|---|"]
        for name, arm in case["arms"].items():
            over = [shown(arm[clock], sign=True) for clock in ("wall_over", "cpu_over")]
            lines.append(" | ".join([f"| {name}", shown(arm["wall"]), *over, f"{arm['apart']:.0e} |".replace("0e+00", "0")]))
    lines += ["", *(f"{name} is left out: {why}." for name, why in result["missing"].items())]
    return "\n".join(lines).rstrip() + "\n"


@contextmanager
def silence() -> Iterator[None]:
    """Sends what the arms print nowhere. The progress line takes it for a terminal (TTY_COMPATIBLE), and draws."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        yield


if __name__ == "__main__":
    main()
