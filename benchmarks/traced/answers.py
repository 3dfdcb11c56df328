"""What each tool prints, reduced to its verdict and to what it would do, in its own words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

TOOLS = {"traceml": "TraceML", "slowai": "slowai", "accel": "accel doctor"}
RIGHT: dict[str, dict[str, tuple[str, str]]] = {
    "traceml": {
        "data": ("INPUT_BOUND", ""), "slow reader": ("INPUT_STRAGGLER", "r0"), "slow optimiser": ("COMPUTE_STRAGGLER", "r0"),
        "products": ("COMPUTE_BOUND", ""),
    },
    "slowai": {"products": ("compute", ""), "memory traffic": ("memory", ""), "overhead": ("overhead", "")},
    "accel": {
        "data": ("data-bound", ""), "slow reader": ("straggler-bound", "rank 0 reads"),
        "slow optimiser": ("straggler-bound", "rank 0 moves its weights"), "products": ("compute-bound", "convolutions take"),
        "memory traffic": ("compute-bound", "that move memory take"), "overhead": ("host-bound", ""),
    },
}  # fmt: skip
"""Kind of the verdict that names a cause, and words that it must have, by tool and cause. It has no word for what is not here."""
LARGEST = 100.0
"""Ceiling from which on it says nothing, as in accel's own table."""
SHOWN = 3
"""Remedies that the table has."""


def is_right(tool: str, cause: str, answer: Mapping[str, Any]) -> bool:
    """Return whether an answer names the cause."""
    if cause not in RIGHT[tool]:
        return False
    kind, words = RIGHT[tool][cause]
    return answer.get("kind") == kind and words in answer["says"]


def traceml_answer(summary: Mapping[str, Any]) -> dict[str, Any]:
    """TraceML's final summary: its primary diagnosis."""
    primary = summary["primary_diagnosis"]
    says = f"{primary['status']} ({primary['severity']}): {primary['summary']}"
    return {"kind": primary["kind"], "says": says, "next": primary["action"], "took": seconds(summary.get("duration_s"))}


def slowai_answer(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report of `slowai fix --json`: regime, and what came of its remedies; or that of `diagnose`, which tries none."""
    baseline, tried = report.get("baseline", report), report.get("remedies", [])
    says = f"{baseline['regime']} (confidence {baseline['confidence']:.2f})"
    shown = [f"{one['name']} {one['speedup']:.2f}x" for one in tried if not one["error"]]
    failed = [f"{one['name']}: {one['error'].splitlines()[0][:80]}" for one in tried if one["error"]]
    words = f"advice: {baseline['top_fixes'][0]}" if baseline["top_fixes"] else "no advice"
    if tried:
        words = f"{'winner ' + report['best'] if report['best'] else 'no winner'}; tried once each: {', '.join(shown)}"
    return {
        "kind": baseline["regime"], "says": says, "next": words, "failed_remedies": failed, "remedies": tried,
        "evidence": baseline["evidence"], "advice": baseline["top_fixes"],
    }  # fmt: skip


def accel_answer(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of `accel doctor --json`: verdict, and remedies with their predictions."""
    verdict = document["verdict"]
    shown = []
    for remedy in document["remedies"][:SHOWN]:
        speed = remedy["speed_up"]
        ceiling = remedy["ceiling"] or LARGEST
        predicted = f"at most {ceiling:.2f}x" if ceiling < LARGEST else "not predicted"
        if speed:
            predicted = f"{speed['middle']:.2f}x ({speed['low']:.2f} to {speed['high']:.2f})"
        shown.append(f"`{remedy['type']}` {predicted}")
    return {
        "kind": verdict["kind"], "says": verdict["sentence"], "next": "; ".join(shown) or "nothing would make it 2 % faster",
        "split": document["split"], "remedies": document["remedies"], "states": [one["problem"] for one in document["states"]],
        "host_reads": document["figures"]["host_reads"], "took": seconds(document["seconds"]),
    }  # fmt: skip


def bound_shares(advice: Mapping[str, Any]) -> dict[str, float]:
    """The document of `accel advise --json`: the shares of the time of layers, by what bounds them."""
    shares: dict[str, float] = defaultdict(float)
    for layer in advice["layers"]:
        shares[str(layer["bound"])] += layer["share"] or 0.0
    return dict(shares)


def seconds(value: float | None) -> str:
    """Seconds, as the table has them."""
    return "" if value is None else f"{value:.0f} s"
