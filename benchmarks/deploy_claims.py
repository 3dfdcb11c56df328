"""What notes of 2019 to 2021 say of making a trained model faster, measured: merged operators, 8 bits, threads, folds, calibration.

python benchmarks/deploy_claims.py                                     # a table, of the engines that are installed here
python benchmarks/deploy_claims.py --python tvm=FILE executorch=FILE   # and of engines in environments of their own
python benchmarks/deploy_claims.py --out benchmarks/results/DATE-deploy.json
python benchmarks/deploy_claims.py --claims threads folding --seconds 1     # some claims, and how long each pair is timed
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import deploy_pairs
import machine
from calibration_error import calibration_errors
from deploy_pairs import NotRun, Pair
from results import save

from accel.compare import Limits, interleave
from accel.errors import ConfigError
from accel.report.other_load import OtherLoad

PACKAGES = ["torch", "accel-train", "onnx", "onnxruntime", "numpy"]
CLAIMS: dict[str, tuple[str, Callable[[dict[str, str]], Iterator[Pair]]]] = {
    "fusion": ("merging operators: 1.2 to 2 times, by TVM on a Titan X", deploy_pairs.fusion),
    "integers": ("8 bits: many ways of quantising make nothing faster", deploy_pairs.integers),
    "threads": ("Inception v1 by TVM: 1.98 times by 2 cores", deploy_pairs.threads),
    "folding": ("BatchNorm folded into the convolution before it: faster", deploy_pairs.folding),
    "merging": ("RepVGG's branches merged into one: faster", deploy_pairs.merging),
}
"""What is said, and the pairs by which it is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[], metavar="TARGET=FILE", help="interpreters that have an engine")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing for each pair, at most")
    parser.add_argument("--claims", nargs="+", choices=[*CLAIMS, "calibration"], default=[*CLAIMS, "calibration"])
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    pythons = dict(word.split("=", 1) for word in args.python)
    head, load, began = machine.facts(threads=1, packages=PACKAGES), OtherLoad(), perf_counter()
    claims = {name: measured(name, pythons, args.seconds) for name in CLAIMS if name in args.claims}
    errors = calibration_errors() if "calibration" in args.claims else {}
    versions = {name: version for claim in claims.values() for pair in claim["pairs"] for name, version in pair["versions"].items()}
    result: dict[str, Any] = {
        "schema": 1, "benchmark": "deploy_claims", **head, "versions": head["versions"] | versions,
        "seconds": round(perf_counter() - began, 1), "others percent": load.percent(), "claims": claims, "calibration": errors,
    }  # fmt: skip
    save(result, table(result), args.out)


def measured(claim: str, pythons: dict[str, str], seconds: float) -> dict[str, Any]:
    """Return the pairs of a claim: how many times faster the second side of each is, or why that was not run."""
    rows: list[dict[str, Any]] = []
    for pair in CLAIMS[claim][1](pythons):
        row: dict[str, Any] = {"case": pair.case, "from": pair.base, "to": pair.other, "versions": {}}
        try:
            with pair.sides() as (base, other, versions):
                ratio = interleave(base, other, Limits(min_rounds=8, max_rounds=200, width=0.02, seconds=seconds))
                row |= {"base ms": 1000 * base(), "ratio": ratio.ratio, "low": ratio.low, "high": ratio.high, "n": 2 * ratio.rounds}
                row["versions"] = versions
        except (NotRun, ConfigError) as error:
            row["not run"] = str(error)
        print(f"{claim}: {line(row)}", file=sys.stderr, flush=True)
        rows.append(row)
    return {"says": CLAIMS[claim][0], "pairs": rows}


def line(row: dict[str, Any]) -> str:
    """One pair as a row of Markdown."""
    if "not run" in row:
        return f"| {row['case']} | {row['from']} | {row['to']} | - | not run: {row['not run']} | - |"
    ratio = f"{row['ratio']:.2f} ({row['low']:.2f} .. {row['high']:.2f})"
    return f"| {row['case']} | {row['from']} | {row['to']} | {row['base ms']:.3g} | {ratio} | {row['n']} |"


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    text = ["# What is said of making a trained model faster, measured\n", machine.sentence(result) + "\n"]
    text.append(f"Other programs used {result['others percent']:.0f} % of a core. x: how many times faster, with bounds at 99 %.\n")
    for claim in result["claims"].values():
        text += [f"## {claim['says']}\n", "| case | from | to | ms of a call before | x | n |", "|---|---|---|---|---|---|"]
        text += [line(row) for row in claim["pairs"]] + [""]
    if result["calibration"]:
        text.append("## The range of 8 bits by relative entropy, against the ends of the data\n")
        text += [
            "Error of the rounded numbers, in percent of their standard deviation without outliers: median (least .. most), n=3.\n"
        ]
        text += ["| numbers | range by | end of the range | error of all | error without outliers |", "|---|---|---|---|---|"]
        text += [f"| {' | '.join(row)} |" for row in result["calibration"].get("rows", [])]
        if "not run" in result["calibration"]:
            text.append(f"not run: {result['calibration']['not run']}")
    return "\n".join(text) + "\n"


if __name__ == "__main__":
    main()
