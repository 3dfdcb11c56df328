"""Exports of a run as the cells of a table: whether each holds, its size, its outputs and metrics beside torch's, its speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accel.report.formatting import number, ratio, size
from accel.report.record.quantisation_lines import quantisation_line

__all__ = ["COLUMNS", "cells", "export_lines", "export_name", "shown_metric"]

COLUMNS = ("target", "", "size", "differs by", "top class", "torch", "exported", "ms", "x eager")
"""Headings. The differences are shares of the largest output; the metric of torch and of the export is named below the table."""


def cells(outcome: Mapping[str, Any]) -> list[str]:
    """Return the cells of an outcome, as `accel.export.export_outcome.ExportOutcome` writes it, a text for each of `COLUMNS`."""
    proof = outcome.get("proof")
    if proof is None:
        return [export_name(outcome["target"], outcome.get("variant")), outcome["status"], *["-"] * (len(COLUMNS) - 2)]
    name = shown_metric(proof["metrics"])
    first = (proof["latency"] or [None])[0]
    return [
        export_name(outcome["target"], outcome.get("variant")), outcome["status"], size(proof["bytes"]),
        "not finite" if proof["share"] is None else f"{proof['share']:.1e}",
        "-" if proof["agreement"] is None else f"{100 * proof['agreement']:.2f} %",
        _number(proof["metrics"].get(name)), _number(proof["export_metrics"].get(name)),
        "-" if first is None else f"{first['export_ms']:.3g}",
        "-" if first is None else ratio(first["ratio"], first["low"], first["high"]),
    ]  # fmt: skip


def export_name(target: str, variant: str | None) -> str:
    """Return the name of an export, that of its folder: `onnx`, and `onnx-static` for other numbers than float32."""
    return target if variant in (None, "float32") else f"{target}-{variant}"


def shown_metric(metrics: Mapping[str, Any]) -> str:
    """Return the name of the metric that stands in a table: an accuracy if there is one, else the first that is no loss."""
    names = [name for name in metrics if "accuracy" in name] or [name for name in metrics if "loss" not in name] or list(metrics)
    return names[0] if names else ""


def export_lines(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each outcome that does not hold, and what the figures were taken on."""
    proofs = [one["proof"] for one in outcomes if one.get("proof")]
    lines = [
        f"{export_name(one['target'], one.get('variant'))}: {one['status']}: {one['reason']}"
        for one in outcomes
        if one["status"] != "holds"
    ]
    lines += [
        f"{export_name(one['target'], one.get('variant'))}: {line}"
        for one in outcomes
        if (line := quantisation_line(one.get("quantisation", {})))
    ]
    if proofs:
        samples = "" if proofs[0]["samples"] is None else f"{proofs[0]['samples']:,} samples of "
        name = shown_metric(proofs[0]["metrics"]).replace("_", " ")
        lines.append(f"{name} of torch, and of the files loaded anew, on {samples}{proofs[0]['split']}; ms: of one sample")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)
