"""Whether the doctor names what makes a run slow: twenty bottlenecks, each injected into a healthy run of this machine.

python benchmarks/bottlenecks.py                                                # a table
python benchmarks/bottlenecks.py --out benchmarks/results/DATE-bottlenecks.json  # and the results beside it

The runs are those of tests/support/bottlenecks.py. `make drill` asks for nineteen of twenty.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import machine
from results import save

sys.path.insert(0, str(Path(__file__).parents[1]))

from accel.errors import AccelWarning
from accel.report.other_load import OtherLoad
from tests.support.bottlenecks import BOTTLENECKS, PURE, RANKED, diagnose
from tests.support.rank_processes import run_cases

PACKAGES = ["torch", "numpy", "pillow", "accel-train"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of measuring each run, as accel doctor --seconds")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="some of them, by parts of their names")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    warnings.simplefilter("ignore", AccelWarning)
    load, chosen = OtherLoad(), [name for name in BOTTLENECKS if not args.only or any(word in name for word in args.only)]
    rows = [row(name, args.seconds) for name in chosen] + ([] if args.only else ranked_rows())
    head = machine.facts(threads=1, packages=PACKAGES)
    result = {"schema": 1, "benchmark": "bottlenecks", "others_percent": load.percent(), **head, "rows": rows, "pure": list(PURE)}
    save(result, table(result), args.out)


def row(name: str, seconds: float) -> dict[str, Any]:
    """A bottleneck: what the run is called with it, and without."""
    verdicts = {}
    for ill in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            case = diagnose(name, ill, Path(folder), seconds)
        print(f"{name}, {'with' if ill else 'without'} it: {case.sentence}", flush=True)
        verdicts[ill] = case
    ill, healthy = verdicts[True], verdicts[False]
    return {
        "bottleneck": name, "wanted": BOTTLENECKS[name].kind, "verdict": ill.sentence, "named": ill.is_named,
        "without": healthy.sentence, "named_without": healthy.is_named, "seconds": [ill.seconds, healthy.seconds],
    }  # fmt: skip


def ranked_rows() -> list[dict[str, Any]]:
    """The bottlenecks of two ranks, as the first of them sees it."""
    with tempfile.TemporaryDirectory() as folder:
        cases = run_cases("tests.support.slow_rank_cases", Path(folder))
    equal = cases["alike"][0]
    return [
        {
            "bottleneck": f"a rank that {name} slowly", "wanted": kind, "verdict": cases[name][0]["sentence"],
            "named": all(one["kind"] == kind and words in one["sentence"] for one in cases[name]),
            "without": equal["sentence"], "named_without": equal["kind"] == kind, "seconds": [],
        }
        for name, (kind, words) in RANKED.items()
    ]  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = result["rows"]
    named, wrongly = sum(one["named"] for one in rows), sum(one["named_without"] for one in rows)
    others = "unknown" if result["others_percent"] is None else f"{result['others_percent']:.0f} %"
    lines = [
        "# Bottlenecks that the doctor names", "",
        f"One thing is injected into a healthy run, and the verdict must name it. Named as the first cause: {named} of "
        f"{len(rows)}. The same runs without it, called the same: {wrongly}. Other processes took {others} of the cores "
        f"meanwhile. Not injected, since this machine has no swap, and a case of figures in the suite: {', '.join(PURE)}.", "",
        machine.sentence(result), "", "| injected | verdict | right | the run without it |", "|---|---|---|---|",
    ]  # fmt: skip
    for one in rows:
        verdict, without = (text.replace("|", "\\|") for text in (one["verdict"], one["without"]))
        lines.append(f"| {one['bottleneck']} | {verdict} | {'yes' if one['named'] else 'no'} | {without.partition(';')[0]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
