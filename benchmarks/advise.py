"""What `accel.advise` foretells of its findings, and what comes of them: each change is made, and both models take turns.

python benchmarks/advise.py                                              # a table
python benchmarks/advise.py --out benchmarks/results/DATE-advise.json    # and the results beside it
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import torch
from advise_cases import CASES, Case
from results import save

import accel
from accel.compare import Limits, interleave
from accel.diagnose.findings.finding import Finding
from accel.diagnose.layer_trials.tried_findings import TRIED
from accel.diagnose.layers.model_pass import ModelPass, pass_of
from accel.diagnose.layers.operator_timer import timed_pass
from accel.report.formatting import gain_text
from accel.report.other_load import OtherLoad
from accel.report.result import finite

PACKAGES = ["torch", "numpy", "accel-train"]
FORETOLD = TRIED | {"memory_order", "foldable_norms", "array_copies"}
"""Findings with a gain: where there is none of them, the change is to save nothing."""
NEAR, NOISE = 0.30, 0.02
"""A gain holds within this share of the larger of both, or of a pass, by which two measurements of the same may differ."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each advice, as accel advise --seconds")
    parser.add_argument("--trial", type=float, default=10.0, help="seconds in which both models take turns, about")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES), help="some of the cases")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    torch.manual_seed(0)
    load, rows = OtherLoad(), []
    for name in args.cases:
        rows.append(measure(name, CASES[name], args.seconds, args.trial))
        print(line(rows[-1]), flush=True)
    head = machine.facts(threads=torch.get_num_threads(), packages=PACKAGES)
    result = {"schema": 1, "benchmark": "advise", "others_percent": load.percent(), **head, "rows": rows}
    save(finite(result), table(result), args.out)


def measure(name: str, case: Case, seconds: float, trial: float) -> dict[str, Any]:
    """Advise on a model, make the change that its finding names, and time both models in turns."""
    before, after = case.before(), case.after()
    advice = accel.advise(before, case.batch, seconds=seconds)
    finding = next((one for one in advice.findings if one.name == case.finding), None)
    limits = Limits(min_rounds=8, max_rounds=60, width=0.02, seconds=trial)
    base = pass_of(before, case.batch, None)
    other = pass_of(after, case.batch if case.changed is None else case.changed, None)
    seconds_of(base), seconds_of(other)  # warm, and compiled
    speed = interleave(lambda: seconds_of(base), lambda: seconds_of(other) / case.samples, limits)
    saved = {"middle": 1 - 1 / speed.ratio, "low": 1 - 1 / speed.low, "high": 1 - 1 / speed.high}
    return {
        "case": name, "finding": case.finding, "change": case.change, "found": finding is not None,
        "gain": finding and finding.gain, "ceiling": finding and finding.ceiling, "saved": saved, "speed": asdict(speed),
        "verdict": verdict(finding, **saved) if finding or case.finding in FORETOLD else "not found",
    }  # fmt: skip


def seconds_of(subject: ModelPass) -> float:
    """Make one pass, and return its seconds."""
    subject.clear()
    start = timed_pass(subject.device)
    subject.run()
    return timed_pass(subject.device) - start


def verdict(finding: Finding | None, middle: float, low: float, high: float) -> str:
    """What the measurement says of what was foretold: a finding that is not there foretells that the change saves nothing.

    A measurement that is less certain than the difference that counts says nothing against a gain: it is to be made again.
    """
    if finding is not None and finding.gain is None:
        if finding.ceiling is None:
            return "not foretold"
        return "below" if low <= finding.ceiling + NOISE else "above the most"
    gain = 0.0 if finding is None or finding.gain is None else finding.gain
    allowed = max(NEAR * max(gain, middle), NOISE)
    if abs(gain - max(0.0, middle)) <= allowed:
        return "holds"
    return "wrong" if (high - low) / 2 <= allowed or not low <= gain <= high else "uncertain"


def foretold(row: dict[str, Any]) -> str:
    """What the advice says of the gain, in words."""
    return (gain_text(row["gain"], row["ceiling"]) or "not foretold") if row["found"] else "no finding, so nothing"


def line(row: dict[str, Any]) -> str:
    """A row as a line of the table."""
    saved = row["saved"]
    measured = f"{saved['middle']:.1%} ({saved['low']:.1%} .. {saved['high']:.1%})"
    return f"| {row['case']} | `{row['finding']}` | {row['change']} | {foretold(row)} | {measured} | {row['verdict']} |"


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = result["rows"]
    told = [row for row in rows if row["verdict"] in ("holds", "wrong")]
    held = sum(row["verdict"] == "holds" for row in told)
    bounded = [row for row in rows if row["verdict"] in ("below", "above the most")]
    kept = sum(row["verdict"] == "below" for row in bounded)
    others = "unknown" if result["others_percent"] is None else f"{result['others_percent']:.0f} %"
    lines = [
        "# What advise foretells of its findings, and what comes of them", "",
        "Share of the time of a pass that a change saves: foretold by the advice on the model as it is, and measured with the "
        f"model changed by hand, passes of both in turns, with bounds. Of {len(told)} gains {held} hold: within {NEAR:.0%} of the "
        f"larger of both, or {NOISE:.0%} of the pass. Of {len(bounded)} bounds {kept} are not passed. What is not foretold is "
        f"another model. Other processes took {others} of the cores meanwhile.", "",
        machine.sentence(result), "", "| case | finding | change | foretold | measured | verdict |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    return "\n".join([*lines, *map(line, rows)]) + "\n"


if __name__ == "__main__":
    main()
