"""The results of ship.py as Markdown, and whether what is asked of them holds."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean
from typing import Any

import machine
from ship_arms import PLAIN
from spread import shown

PRUNED_LOSS, QUANTISED_LOSS = 1.0, 0.5
"""Points of accuracy that half of the channels, and integers in the place of floats, may cost."""
HOLDS, MISSED, UNKNOWN = "holds", "does not hold", "not shown"


def accuracies(arm: dict[str, Any]) -> list[float]:
    """Accuracies in percent, seed by seed."""
    return [100 * run["accuracy"] for run in arm["runs"]]


def verdicts(arms: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What is asked, and whether it holds. What was not run, or by one seed alone, is not shown."""
    asked: dict[str, tuple[str, str, Callable[[list[float], list[float]], bool]]] = {
        "the worst distilled student is better than the best plain one": (
            "distilled", PLAIN, lambda ours, plain: min(ours) > max(plain)
        ),
        f"pruned by half of its operations, plain loses at most {PRUNED_LOSS:g} point": (
            "pruned", PLAIN, lambda ours, plain: lost(ours, plain) <= PRUNED_LOSS
        ),
        f"what qat ships loses at most {QUANTISED_LOSS:g} points against plain, trained on as long": (
            "qat", "trained_on", lambda ours, plain: lost(ours, plain) <= QUANTISED_LOSS
        ),
    }  # fmt: skip
    return {text: verdict(arms, *each) for text, each in asked.items()}


def lost(ours: list[float], plain: list[float]) -> float:
    """Points that the mean is below that of plain, to what an accuracy is known to."""
    return round(mean(plain) - mean(ours), 6)


def verdict(arms: dict[str, dict[str, Any]], name: str, base: str, holds: Callable[[list[float], list[float]], bool]) -> str:
    """Whether an arm fulfils what is asked of it, beside another of the same seeds; with the difference in points."""
    for each in (name, base):
        if "runs" not in arms.get(each, {}):
            return f"{UNKNOWN}: {each} was not run"
    ours, plain = accuracies(arms[name]), accuracies(arms[base])
    if len(ours) != len(plain) or len(ours) < 2:
        return f"{UNKNOWN}: it needs two seeds at least"
    gaps = [one - other for one, other in zip(ours, plain, strict=True)]
    points = f"{mean(gaps):+.2f} points ({min(gaps):+.2f} .. {max(gaps):+.2f}, n={len(gaps)})"
    return f"{HOLDS if holds(ours, plain) else MISSED}: {points}"


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    arms = result["arms"]
    cases = list(next((arm["latency"] for arm in arms.values() if "latency" in arm), {}))
    others = result["others percent"]
    lines = [
        "# A small network, compressed while it trains", "",
        "CIFAR-10: 50,000 pictures to train on, accuracy on the 10,000 test pictures, each seen once. All but the seconds is of "
        "the file that is shipped: without what only training needs, in float32. *Accuracy*: mean, standard deviation, and the "
        "difference from plain, seed by seed (least .. most). *MFLOP* of one picture: a product and its sum are two. *ms*: a "
        "forward pass in eager mode, median (10th .. 90th percentile), the arms in turns, in random order. *Seconds* of training, "
        "saving and evaluation, without the time to open the pictures; those of the arms that train plain on are without plain's "
        "own. Each run is a process of its own; all students have one teacher.", "",
        f"{machine.sentence(result)} {result['seconds']:.0f} s in all"
        + ("." if others is None else f"; other processes took {others:.0f} % of the cores."), "",
        "| arm | what | accuracy | beside plain | parameters | MFLOP | kB | "
        + "".join(f"ms, {case} | " for case in cases) + "seconds |",
        "|" + "---|" * (8 + len(cases)),
    ]  # fmt: skip
    lines += [row(name, arm, arms.get(PLAIN, {}), cases) for name, arm in arms.items()]
    lines += ["", *(f"- {text}: **{answer}**" for text, answer in result["verdicts"].items()), ""]
    lines += [f"{name}: `{' '.join(arm['overrides'])}`\n" for name, arm in arms.items() if "overrides" in arm]
    return "\n".join(lines)


def row(name: str, arm: dict[str, Any], plain: dict[str, Any], cases: list[str]) -> str:
    """The line of one arm, or why there are no figures of it."""
    if "runs" not in arm:
        reason = f"not run: {arm['not run']}" if "not run" in arm else f"failed: {arm['failed']}"
        return f"| {name} | {arm['about']} | {reason} |" + " |" * (5 + len(cases))
    deviation, gap = arm["accuracy"]["stdev"], ""
    accuracy = f"{100 * arm['accuracy']['mean']:.2f} %" + ("" if deviation is None else f" (s = {100 * deviation:.2f})")
    if name != PLAIN and "runs" in plain and len(plain["runs"]) == arm["n"]:
        gaps = [one - other for one, other in zip(accuracies(arm), accuracies(plain), strict=True)]
        gap = f"{mean(gaps):+.2f} ({min(gaps):+.2f} .. {max(gaps):+.2f})"
    latency = "".join(f"{shown(arm['latency'][case], 2)} | " for case in cases)
    return (
        f"| {name} | {arm['about']} | {accuracy}, n={arm['n']} | {gap} | {arm['parameters']:,} | {arm['flops'] / 1e6:.1f} | "
        f"{arm['bytes'] / 1000:.0f} | {latency}{arm['training']['mean']:.1f} |"
    )
