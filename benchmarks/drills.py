"""Whether a run survives: every kind of drill on every set of plugins, compared bit for bit with runs that were left alone.

    python benchmarks/drills.py --out benchmarks/results/DATE-drills.json   # what `make drill` does
    python benchmarks/drills.py --quick                                     # what `make test` does

The trials are those of `python -m accel drill`, forked from this process, on runs of about a second: a small classifier, and a
small network on pictures that are drawn here and packed into tiled JPEGs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a fork must find no threads
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import machine
import numpy as np
import torch
from results import save

from accel.cli.compose.compose import compose
from accel.cli.drill_command import KINDS
from accel.cli.drill_console import forked_body
from accel.cli.pack import pack_command
from accel.testing.drill.drill import Drill, Report
from accel.testing.drill.results_table import STRIKES, median_and_p90

PACKAGES = ["torch", "accel-train", "lmdb", "numpy"]
QUIET = ["~plugins.progress", "plugins.metrics.curves=false"]
TOY = ["task._target_=accel.testing.toy_run.Toy", "batch_size=4", "epochs=8", "checkpoint.every=4", *QUIET]
PICTURES = [
    "task=images", "task.root=PICTURES", "task.size=16", "task.crop=resized", "task.decoder=simplejpeg", "batch_size=8", "epochs=4",
    "checkpoint.every=4", *QUIET,
]  # fmt: skip
SETS: dict[str, list[str]] = {
    "plain": TOY,
    "amp": [*TOY, "+plugins=[amp,adamw]"],
    "accumulate": [*TOY, "+plugins=[accumulate,adamw]", "plugins.accumulate.steps=4", "epochs=16"],
    "onecycle, ema": [*TOY, "+plugins=[onecycle,ema,adamw]"],
    "lamb": [*TOY, "+plugins=[lamb]"],
    "float16, overflows": [
        *TOY, "+plugins=[amp,adamw]", "plugins.amp.dtype=float16", "plugins.amp.force=true", "plugins.amp.growth_interval=2",
    ],
    "prefetch": [*PICTURES, "+plugins=[prefetch]"],
    "workers": [*PICTURES, "+plugins=[workers]", "plugins.workers.count=2"],
    "threads, tiled lmdb": [*PICTURES, "+plugins=[threads,lmdb]", "plugins.threads.count=2"],
    "all": [
        *PICTURES, "+plugins=[threads,lmdb,prefetch,amp,accumulate,onecycle,ema,lamb,clip,finite_guard,channels_last]",
        "plugins.threads.count=2", "plugins.accumulate.steps=2", "epochs=8",
    ],
}  # fmt: skip
WHERE: dict[str, list[str]] = {
    "kill": [name for name in SETS if name != "workers"],
    "term": ["plain", "threads, tiled lmdb", "workers", "all"],
    "corrupt": ["plain", "all"],
    "disk": ["plain", "onecycle, ema"],
    "worker": ["workers"],
}
"""The sets that each kind of drill is run on."""
QUICK_SETS = ("plain", "float16, overflows", "prefetch", "workers", "all")
"""The sets of `--quick`, of which each is run at least once."""
QUICK = {"kill": 8, "term": 3, "corrupt": 1, "disk": 1, "worker": 1}
LONG = {"kill": 1000, "term": 200, "corrupt": 200, "disk": 200, "worker": 50}
"""Strikes in all, at least, shared out evenly over the sets; of `disk` trials."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--sets", nargs="+", choices=SETS, metavar="SET", help=", ".join(SETS))
    parser.add_argument("--quick", action="store_true", help=f"what make test does: {QUICK} on {QUICK_SETS}")
    parser.add_argument("--seed", type=int, help="of what is drawn; a new one otherwise")
    parser.add_argument("--within", type=float, default=5.0, help="seconds that a run has to stop, besides its slowest update")
    parser.add_argument("--dir", type=Path, help="for what is left of trials that fail; a temporary folder otherwise")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    seed = int.from_bytes(os.urandom(3), "big") if args.seed is None else args.seed
    head = machine.facts(threads=1, packages=PACKAGES)
    torch.set_num_threads(1)
    counts = QUICK if args.quick else LONG
    cases: list[dict[str, Any]] = []
    with TemporaryDirectory(prefix="accel-drills-") as temporary:
        folder = args.dir or Path(temporary)
        pictures(Path(temporary) / "pictures")
        for kind in args.kinds:
            chosen = [name for name in WHERE[kind] if name in (args.sets or (QUICK_SETS if args.quick else SETS))]
            for name in chosen:
                place = folder / kind / name.replace(", ", "-").replace(" ", "-")
                share = -(-counts[kind] // len(chosen))
                one = case(kind, name, place, Path(temporary) / "pictures", seed, args.within, share)
                cases.append(one)
                print(f"{kind}: {name}: {one['strikes']} strikes, {len(one['failures'])} failed", *one["failures"], sep="\n",
                      file=sys.stderr, flush=True)  # fmt: skip
    result = {"schema": 1, "benchmark": "drills", **head, "seed": seed, "cases": cases}
    save(result, table(result), args.out)
    sys.exit(any(one["failures"] for one in cases))


def case(kind: str, name: str, folder: Path, root: Path, seed: int, within: float, strikes: int) -> dict[str, Any]:
    """One kind of drill on one set, until there were so many strikes."""
    with contextlib.chdir(root.parent):  # where tasks are looked for
        body = forked_body(compose([word.replace("PICTURES", str(root)) for word in SETS[name]]))
    found, began = Drill(kind, body, folder, seed, within), monotonic()
    found.reference()
    reports: list[Report] = []
    for number in count():
        if (number if kind == "disk" else sum(report.strikes for report in reports)) >= strikes:
            break
        reports.append(found.trial(number))
    times = [seconds for report in reports for seconds in report.recoveries]
    middle, most = median_and_p90(times)
    return {
        "kind": kind, "set": name, "overrides": SETS[name], "trials": len(reports),
        "strikes": sum(report.strikes for report in reports), "anew": sum(report.restarts for report in reports),
        "identical": sum(not report.failure for report in reports), "reference_differs": found.reference_difference,
        "failures": [f"trial {report.number}: {report.failure} ({report.events})\n" for report in reports if report.failure],
        "run": round(found.seconds, 3), "recovery": {"n": len(times), "median": round(middle, 3), "p90": round(most, 3)},
        "seconds": round(monotonic() - began, 1),
    }  # fmt: skip


def pictures(root: Path) -> None:
    """48 drawings of two classes to train on and 16 to evaluate on, and the same as tiled JPEGs in LMDB files."""
    from PIL import Image

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :56]
    for split, many in (("train", 24), ("test", 8)):
        for kind, step in (("waves", 4), ("stripes", 9)):
            (root / split / kind).mkdir(parents=True)
            for number in range(many):
                wave = 127 + 100 * np.sin((x if kind == "waves" else y) / step + rng.uniform(0, 6))
                pixels = np.clip(wave[..., None] + rng.normal(0, 20, (40, 56, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / kind / f"{number}.jpg")
    with contextlib.redirect_stdout(io.StringIO()):
        pack_command.main([str(root), str(root), "--encoding", "tiled", "--workers", "1"])


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Drills", "",
        "Runs that are struck at random and go on until they are done, each compared with a run that was left alone: the last "
        "checkpoint (weights, the state of every part, random numbers, position), metrics.jsonl and model.safetensors, bit for bit."
        " *Recovery* is from the start of a process, forked with everything imported, to the end of its first update; *begun anew* "
        "counts runs that were struck before they had a whole checkpoint.", "",
        f"{machine.sentence(result)} Seed {result['seed']}.", "",
        "| drill | set | trials | struck | identical | begun anew | run | recovery: median (p90, n) |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for one in result["cases"]:
        again = one["recovery"]
        recovery = f"{again['median']:.2f} s ({again['p90']:.2f}, {again['n']})" if again["n"] else "-"
        struck = f"{one['strikes']:,} {STRIKES[one['kind']]}"
        lines.append(
            f"| {one['kind']} | {one['set']} | {one['trials']:,} | {struck} | {one['identical']:,} | {one['anew']:,} | "
            f"{one['run']:.2f} s | {recovery} |"
        )
    failures = [f"- {one['kind']}, {one['set']}: {line.strip()}" for one in result["cases"] for line in one["failures"]]
    return "\n".join([*lines, *(["", "Failed:", "", *failures] if failures else [])]) + "\n"


if __name__ == "__main__":
    main()
