"""Whether a run survives: every kind of drill on every set of plugins, compared bit for bit with runs that were left alone.

    python benchmarks/drills.py --out benchmarks/results/DATE-drills.json   # what `make drill` does
    python benchmarks/drills.py --quick                                     # what `make test` does

The trials are those of `python -m accel drill`, forked from this process, on runs of about a second: small classifiers, a GAN, and
a small network on pictures that are drawn here and packed into tiled JPEGs. The sets are in `drill_sets.py`.
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

import drill_sets
import drill_tasks
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
QUICK = {"kill": 4, "update": 1, "term": 3, "corrupt": 1, "disk": 1, "worker": 1}
SETS_HELP = f"{', '.join(drill_sets.SETS)}; or all of {' or '.join(drill_sets.GROUPS)}"
LONG = {"kill": 2000, "update": 600, "term": 200, "corrupt": 200, "disk": 200, "worker": 50}
"""Strikes in all, at least, shared out evenly over the sets; of `disk` trials. A trial of `update` has some dozen strikes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--sets", nargs="+", choices=[*drill_sets.GROUPS, *drill_sets.SETS], metavar="SET", help=SETS_HELP)
    parser.add_argument("--quick", action="store_true", help=f"what make test does: {QUICK}, on fewer sets or short runs")
    parser.add_argument("--strikes", type=int, help="strikes of each kind in all, at least")
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
    references: dict[str, Drill] = {}
    sets = {kind: drill_sets.chosen(kind, args.sets, args.quick) for kind in args.kinds}
    with TemporaryDirectory(prefix="accel-drills-") as temporary:
        folder = args.dir or Path(temporary)
        names = [name for chosen in sets.values() for name in chosen]
        files = Path(temporary) / "pictures", Path(temporary) / "weights.pt"
        if drill_sets.need(names, "PICTURES"):
            pictures(files[0])
        if drill_sets.need(names, "WEIGHTS"):
            weights(files[1])
        if drill_sets.need(names, "TEACHER"):
            teacher(files[1].with_suffix(""))
        for kind, chosen in sets.items():
            for name in chosen:
                place = folder / kind / name.replace(", ", "-").replace(" ", "-")
                share = -(-(args.strikes or counts[kind]) // len(chosen))
                with contextlib.chdir(temporary):  # where tasks are looked for
                    body = forked_body(compose(drill_sets.words(name, args.quick, *files)))
                drill = Drill(kind, body, place.resolve(), seed, args.within)
                drill.reference(references.get(name))
                references.setdefault(name, drill)
                one = case(drill, name, share)
                cases.append(one)
                print(f"{kind}: {name}: {one['strikes']} strikes, {len(one['failures'])} failed", *one["failures"], sep="\n",
                      file=sys.stderr, flush=True)  # fmt: skip
    result = {"schema": 1, "benchmark": "drills", **head, "seed": seed, "cases": cases}
    save(result, table(result), args.out)
    sys.exit(any(one["failures"] for one in cases))


def case(drill: Drill, name: str, strikes: int) -> dict[str, Any]:
    """One kind of drill on one set, until there were so many strikes."""
    began, reports = monotonic(), list[Report]()
    for number in count():
        if (number if drill.kind == "disk" else sum(report.strikes for report in reports)) >= strikes:
            break
        reports.append(drill.trial(number))
    times = [seconds for report in reports for seconds in report.recoveries]
    middle, most = median_and_p90(times)
    return {
        "kind": drill.kind, "set": name, "overrides": drill_sets.SETS[name], "trials": len(reports),
        "strikes": sum(report.strikes for report in reports), "anew": sum(report.restarts for report in reports),
        "identical": sum(not report.failure for report in reports), "reference_differs": drill.reference_difference,
        "failures": [f"trial {report.number}: {report.failure} ({report.events})\n" for report in reports if report.failure],
        "run": round(drill.seconds, 3), "recovery": {"n": len(times), "median": round(middle, 3), "p90": round(most, 3)},
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


def weights(file: Path) -> None:
    """Weights to begin with, of which the blocks have other names and the head is missing."""
    torch.manual_seed(7)
    state = drill_tasks.Blocks().model().state_dict()
    torch.save({name.replace("blocks.", "old."): value for name, value in state.items() if not name.startswith("head.")}, file)


def teacher(out: Path) -> None:
    """The run of a teacher, which has wider blocks."""
    drill_tasks.WideBlocks(out=out, epochs=1, device="cpu", watch=()).fit()


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Drills", "",
        "Runs that are struck at random and go on until they are done, each compared with a run that was left alone: the last "
        "checkpoint (weights, the state of every part, random numbers, position), metrics.jsonl and the files of weights, bit for "
        "bit."
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
