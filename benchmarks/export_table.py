"""The results of export.py as Markdown, and whether what is asked of them holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import machine
from export_arms import base_of
from ship_arms import PLAIN
from ship_table import HOLDS, MISSED, UNKNOWN

DIFFERENCE, FOLDED, POINTS, SIZE = 1e-4, 1e-5, 0.5, 0.3
"""Largest differences, as shares of the largest output; points of accuracy, and the share of the size, of 8 bits."""
QAT = "qat"
"""Rounds to steps of 8 bits inside: a sum in another order may round to the next, and no float32 tolerance is asked of it."""
EXACT = ("pt2", "torchscript")
"""Targets that torch runs: what is left of a difference is that of folding and merging."""


def proven(models: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Yield model, outcome and proof of all exports that were compared."""
    for name, model in models.items():
        for outcome in model.get("outcomes", []):
            if outcome["proof"] is not None:
                yield name, outcome, outcome["proof"]


def verdicts(models: dict[str, Any]) -> dict[str, str]:
    """What is asked, and whether it holds. What was not run is not shown, and what could not be exported does not hold."""
    rows = list(proven(models))
    fp32 = [row for row in rows if not is_small(row[0]) and row[0] != QAT]
    pictures = [row for row in fp32 if row[2]["agreement"] is not None and "accuracy" in row[2]["metrics"]]
    failed = [f"{name} {one['target']} failed" for name, model in models.items() for one in model.get("outcomes", [])
              if one["status"] == "failed" and not is_small(name) and name != QAT]  # fmt: skip
    return {
        f"fp32 within {DIFFERENCE:g} of the largest output": verdict(fp32, lambda proof: proof["share"], DIFFERENCE, failed),
        "fp32: the same top class in 100 % of the pictures": verdict(pictures, lambda proof: 1 - proof["agreement"], 0.0, failed),
        f"folded and merged within {FOLDED:g}": verdict([row for row in fp32 if row[1]["target"] in EXACT],
                                                        lambda proof: proof["share"], FOLDED),
        f"8 bits lose at most {POINTS:g} points": verdict([row for row in rows if is_small(row[0])], lost, POINTS),
        f"8 bits take at most {SIZE:g} of the size": sizes(rows),
        f"qat as it is exported loses at most {POINTS:g} points": verdict([row for row in rows if row[0] == QAT], lost, POINTS),
    }  # fmt: skip


def is_small(name: str) -> bool:
    """Whether an arm is one of 8 bits."""
    return name.endswith("8 bits")


def lost(proof: dict[str, Any]) -> float:
    """Points of accuracy that an export loses."""
    points: float = 100 * (proof["metrics"]["accuracy"] - proof["export_metrics"]["accuracy"])
    return round(points, 6)


def verdict(rows: list[Any], figure: Any, limit: float, failed: Iterable[str] = ()) -> str:
    """Whether a figure of all rows is within a limit; with the worst of them."""
    if not rows:
        return f"{UNKNOWN}: none was run"
    figures = {f"{name} {outcome['target']}": figure(proof) for name, outcome, proof in rows}
    missed = [*failed, *(f"{row} {value:.2g}" for row, value in figures.items() if value is None or not value <= limit)]
    worst = max(figures, key=lambda row: figures[row])
    return f"{MISSED}: {', '.join(missed)}" if missed else f"{HOLDS}: at most {figures[worst]:.2g} ({worst}), n={len(figures)}"


def sizes(rows: list[Any]) -> str:
    """Whether files of 8 bits are small beside those of float32 of the same network and target."""
    whole = {(name, outcome["target"]): proof["bytes"] for name, outcome, proof in rows}
    small = [row for row in rows if is_small(row[0]) and (floats_of(row[0]), row[1]["target"]) in whole]
    shares = {id(proof): proof["bytes"] / whole[floats_of(name), outcome["target"]] for name, outcome, proof in small}
    return verdict(small, lambda proof: shares[id(proof)], SIZE)


def floats_of(name: str) -> str:
    """The model whose files have the floats of the same network: some engines write the steps of `qat` as integers anyway."""
    return PLAIN if base_of(name) == QAT else base_of(name)


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    models, others = result["models"], result["others percent"]
    cases = sorted({(one["threads"], one["batch"] > 1) for _, _, proof in proven(models) for one in proof["latency"]})
    lines = [
        "# Exported models beside torch", "",
        "Each file is loaded anew by its own engine, in a process of its own, and evaluated on the held-out data of its run, "
        "beside the torch model as it was trained. *Difference*: the largest of all outputs, as a share of the largest of them. "
        "*Times*: median milliseconds of a call; how many times faster than torch in eager mode, and by torch.compile, with bounds "
        "at 99 %: all by turns, in windows of about 20 ms, of the folded model, on as many threads; compiling is left out.", "",
        f"{machine.sentence(result)} {result['seconds']:.0f} s in all"
        + ("." if others is None else f"; other processes took {others:.0f} % of the cores."), "",
        *(f"- {text}: **{answer}**" for text, answer in result["verdicts"].items()), "",
        f"| model | target | | torch | exported | difference | top class | kB | {' | '.join(map(case_words, cases))} |",
        "|" + "---|" * (8 + len(cases)),
    ]  # fmt: skip
    for name, model in models.items():
        lines += [row(name, outcome, cases) for outcome in model.get("outcomes", [])]
        if reason := model.get("not run") or model.get("failed"):
            lines.append(f"| {name} | | {'not run' if 'not run' in model else 'failed'}: {reason} |" + " |" * (5 + len(cases)))
    lines += ["", *(f"{name}: {model['about']}. `{model['command']}`\n" for name, model in models.items() if "command" in model)]
    return "\n".join(lines)


def case_words(case: tuple[int, bool]) -> str:
    """The heading of a batch size and a number of threads."""
    return f"{'a batch' if case[1] else 'one sample'}, {case[0]} thread{'s' * (case[0] > 1)}"


def row(name: str, outcome: dict[str, Any], cases: list[tuple[int, bool]]) -> str:
    """The line of one export."""
    proof, start = outcome["proof"], f"| {name} | {outcome['target']} | {outcome['status']}"
    if proof is None:
        return f"{start}: {outcome['reason']} |" + " |" * (5 + len(cases))
    metric = "accuracy" if "accuracy" in proof["metrics"] else next(iter(proof["metrics"]))
    times = {(one["threads"], one["batch"] > 1): one for one in proof["latency"]}
    agreement = "" if proof["agreement"] is None else f"{100 * proof['agreement']:.6g} %"
    figures = [
        f"{proof['metrics'][metric]:.4f}", f"{proof['export_metrics'][metric]:.4f}", f"{proof['share']:.1e}", agreement,
        f"{proof['bytes'] / 1000:.0f}", *(time_words(times.get(case)) for case in cases),
    ]  # fmt: skip
    return f"{start} | {' | '.join(figures)} |"


def time_words(latency: dict[str, Any] | None) -> str:
    """Milliseconds, and how many times faster than torch, eager and compiled."""
    if latency is None:
        return ""
    ratios = [latency[side] for side in ("eager", "compiled") if latency[side] is not None]
    times = [f"{one['ratio']:.2f} ({one['low'] or 0:.2f} .. {one['high'] or 0:.2f})" for one in ratios]
    return "; ".join([f"{latency['export']['ms']:.3g}", *times])
