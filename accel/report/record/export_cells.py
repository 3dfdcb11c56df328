"""Exports of a run as the cells of a table: whether each holds, its size, its outputs and metrics beside torch's, its speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accel.report.formatting import number, short_count, size
from accel.report.record.quantisation_lines import quantisation_line

__all__ = ["SPEED_COLUMNS", "cells", "columns", "export_lines", "export_name", "outcome_name", "shown_metric", "speed_rows"]

SPEED_COLUMNS = ("target", "batch", "threads", "ms", "samples /s", "x eager", "x compiled")
"""Headings of the times: medians, and how many times faster than torch, with bounds at 99 %."""
MOST = 100
"""Bounds that lie as many times apart, or more, say nothing."""
Outcome = Mapping[str, Any]


def columns(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Return the headings. Differences are shares of the largest output; the metric is that of the files loaded anew."""
    name = next((shown_metric(one["proof"]["metrics"]) for one in outcomes if one.get("proof")), "")
    return ("target", "", "size", "differs by", "top class", name.replace("_", " ") or "metric", "ms", "x eager", "x compiled")


def cells(outcome: Outcome) -> list[str]:
    """Return the cells of an outcome, as `accel.export.export_outcome.ExportOutcome` writes it, a text for each of `columns`."""
    proof = outcome.get("proof")
    if proof is None:
        return [outcome_name(outcome), outcome["status"], *["-"] * 7]
    first = (proof["latency"] or [{}])[0]
    return [
        outcome_name(outcome), outcome["status"], size(proof["bytes"]),
        "not finite" if proof["share"] is None else f"{proof['share']:.1e}" if proof["share"] else "0",
        "-" if proof["agreement"] is None else f"{100 * proof['agreement']:.4g} %",
        _number(proof["export_metrics"].get(shown_metric(proof["metrics"]))),
        _number(first.get("export"), "ms"), _number(first.get("eager"), "ratio"), _number(first.get("compiled"), "ratio"),
    ]  # fmt: skip


def speed_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """Return a row for each measurement of each outcome, a text for each of `SPEED_COLUMNS`."""
    return [
        (
            outcome_name(outcome), f"{one['batch']}", f"{one['threads']}",
            f"{one['export']['ms']:.3g}", short_count(one["rate"]),
            _bounded(one["eager"]), _bounded(one["compiled"]),
        )
        for outcome in outcomes if outcome.get("proof") for one in outcome["proof"]["latency"]
    ]  # fmt: skip


def export_name(target: str, variant: str | None) -> str:
    """Return the name of an export, that of its folder: `onnx`, and `onnx-static` for other numbers than float32."""
    return target if variant in (None, "float32") else f"{target}-{variant}"


def outcome_name(outcome: Outcome) -> str:
    """Return the name of the export of an outcome."""
    return export_name(outcome["target"], outcome.get("variant"))


def shown_metric(metrics: Mapping[str, Any]) -> str:
    """Return the name of the metric that stands in a table: an accuracy if there is one, else the first that is no loss."""
    names = [name for name in metrics if "accuracy" in name] or [name for name in metrics if "loss" not in name] or list(metrics)
    return names[0] if names else ""


def export_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each outcome that does not hold, and what the figures were taken on."""
    proofs = [one["proof"] for one in outcomes if one.get("proof")]
    lines = [f"{outcome_name(one)}: {one['status']}: {one['reason']}" for one in outcomes if one["status"] != "holds"]
    lines += [f"{outcome_name(one)}: {line}" for one in outcomes if (line := quantisation_line(one.get("quantisation", {})))]
    lines += [
        f"{one['target']}: floats that are rounded to the 8 bits of qat, as in training; quantize=static writes its integers"
        for one in outcomes
        if (one.get("proof") or {}).get("rounds") and one.get("variant") == "float32"
    ]
    if proofs:
        samples = "" if proofs[0]["samples"] is None else f"{proofs[0]['samples']:,} samples of "
        name = shown_metric(proofs[0]["metrics"])
        own = " or ".join(dict.fromkeys(_number(one["metrics"].get(name)) for one in proofs))
        lines.append(f"{name.replace('_', ' ')} of the files loaded anew, on {samples}{proofs[0]['split']}; torch has {own}")
    timed = [one["latency"][0] for one in proofs if one["latency"]]
    if timed:
        threads = "1 thread" if timed[0]["threads"] == 1 else f"{timed[0]['threads']} threads"
        words = "how many times faster than torch in eager mode, and by torch.compile; in brackets the bounds at 99 %"
        lines.append(f"ms: of one sample, {threads}; x eager, x compiled: {words}")
    lines += dict.fromkeys(f"not timed beside a compiled model: {one['uncompiled']}" for one in proofs if one.get("uncompiled"))
    return lines


def _number(value: Any, name: str = "") -> str:
    """Return a number, or that of a name, in a few digits; `-` where there is none."""
    if value is None:
        return "-"
    return number(value) if not name else f"{value[name]:.3g}"


def _bounded(times: Mapping[str, float | None] | None) -> str:
    """Return how many times faster an export is, and the bounds, unless other programs have made them say nothing."""
    if times is None or times["ratio"] is None:
        return "-"
    low, high = times["low"], times["high"]
    bounds = f"{_times(low)}-{_times(high)}" if low and high and high < MOST * low else "too noisy"
    return f"{_times(times['ratio'])} ({bounds})"


def _times(ratio: float) -> str:
    return f"{ratio:.2g}" if ratio < 99.5 else f"{ratio:.0f}"
