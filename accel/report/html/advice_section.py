"""The section of a run's page on its model: `advise.json` in its directory, what `accel advise --json` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accel.report.formatting import gain_text, short_count, size
from accel.report.html.charts import Chart, Line, charts
from accel.report.html.markup import Markup, definitions, element, join, paragraphs, table
from accel.report.record.run_files import RunFiles

__all__ = ["LAYERS", "ROWS", "advice", "roofline"]

ROWS = 15
"""Layers in the table, those that take most time."""
LAYERS = 5
"""Number of the colour of the layers in the roofline; roofs have those below."""
COLUMNS = ("layer", "kind", "FLOP", "moved", "FLOP/B", "bound by", "forward ms", "backward ms", "share", "x roof")


def advice(run: RunFiles) -> Markup:
    """Return the layers that take most time, how far they are from the roofs of the machine, and the findings."""
    content = run.documents.get("advise")
    if content is None:
        return Markup("")
    ceilings, layers = content["ceilings"], content["layers"]
    slowest = sorted(layers, key=lambda layer: -_seconds(layer))[:ROWS]
    rows = [_cells(layer) for layer in layers if layer in slowest]
    more = [f"{len(layers) - len(rows):,} more layers take less time each"] if len(layers) > len(rows) else []
    return join([
        definitions(_facts(content, ceilings).items()), charts([roofline(layers, ceilings)]),
        table(COLUMNS, rows, range(2, len(COLUMNS))), paragraphs([*more, content.get("convention")], "dim"),
        *map(_finding, content.get("findings") or []),
    ])  # fmt: skip


def roofline(layers: Sequence[Mapping[str, Any]], ceilings: Mapping[str, Any]) -> Chart:
    """Return the speed of each layer over its intensity, below the roofs of the machine: of its products, and of its memory."""
    known = [layer for layer in layers if layer["flops"] and layer["bytes"] and _seconds(layer)]
    x = np.array([layer["flops"] / layer["bytes"] for layer in known])
    y = np.array([layer["flops"] / _seconds(layer) for layer in known])
    lines = [Line("layers", x, y / 1e9, LAYERS, "points")] if known else []
    span = np.geomspace(min([*x, 0.1]), max([*x, 100.0]), 60)
    for number, (name, product) in enumerate(ceilings["products"].items()):
        for place, copy in _copies(ceilings).items():
            label = f"roof, {name}, data in {place}"
            lines.append(Line(label, span, np.minimum(span * copy, product) / 1e9, (2 * number + (place == "a cache")) % LAYERS))
    return Chart("GFLOP/s of each layer", lines, "FLOP per byte moved", log="xy")


def _facts(content: Mapping[str, Any], ceilings: Mapping[str, Any]) -> dict[str, str]:
    whole = content["pass"]
    products = ", ".join(f"{name} {_flops(speed)}/s" for name, speed in ceilings["products"].items())
    copies = ", ".join(f"{size(speed)}/s in {place}" for place, speed in _copies(ceilings).items())
    passed = f"{1000 * whole['seconds']:.3g} ms, {_flops(whole['flops'])}, {size(whole['bytes'])} moved"
    return {
        "model": f"{content['model']}, {whole['parameters']:,} parameters; {content['batch']}",
        "a pass": f"{'forward and backward' if content['trains'] else 'forward'}, {passed}",
        "ceilings": f"products {products}; copies {copies} ({ceilings.get('device', content['device'])})",
    }


def _copies(ceilings: Mapping[str, Any]) -> dict[str, float]:
    """Return the bytes a second of the largest copy, which no cache holds, and of the fastest."""
    copies = {int(count): float(speed) for count, speed in ceilings["copies"].items()}
    return {"memory": copies[max(copies)], "a cache": max(copies.values())}


def _cells(layer: Mapping[str, Any]) -> tuple[str, ...]:
    seconds, roof, intensity = _seconds(layer), layer.get("roof_seconds"), layer.get("intensity")
    return (
        layer["path"] or layer["kind"], layer["kind"], short_count(layer["flops"]), size(layer["bytes"]),
        "-" if intensity is None else f"{intensity:.1f}", layer["bound"], f"{1000 * layer['forward_seconds']:.2f}",
        f"{1000 * layer['backward_seconds']:.2f}", f"{100 * layer['share']:.1f} %", f"{seconds / roof:.1f}" if roof else "-",
    )  # fmt: skip


def _flops(count: float) -> str:
    """Return a number of floating-point operations: 343 MFLOP."""
    return f"{size(count)[:-1]}FLOP"


def _seconds(layer: Mapping[str, Any]) -> float:
    seconds: float = layer["forward_seconds"] + layer["backward_seconds"]
    return seconds


def _finding(finding: Mapping[str, Any]) -> Markup:
    saved = gain_text(finding.get("gain"), finding.get("ceiling"))
    words = [finding.get("evidence"), "; ".join(filter(None, [saved, finding.get("gain_note")]))]
    return element("h3", finding["problem"]) + paragraphs(filter(None, words)) + element("pre", finding["change"])
