"""What is measured of exported models, as the documentation has it: claims of older notes, and the engines beside torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

MODEL = "plain"
"""The model of export.py whose times the documentation has: one convnet, on every engine."""
THREADS = 1


def claims_table(results: Iterable[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of what was claimed and what was measured, from results of deploy_claims.py."""
    lines = ["| claim | measured | from | to | ms of a call before | times as fast |", "|---|---|---|---|---|---|"]
    for result in results:
        for claim in result["claims"].values():
            lines += [f"| {claim['says']} | {cells} |" for cells in map(pair_cells, claim["pairs"]) if cells]
    return lines


def pair_cells(pair: dict[str, Any]) -> str:
    """Return the cells of a pair that took turns; nothing for one that was not run."""
    if pair.get("ratio") is None:
        return ""
    bounds = f"{pair['ratio']:.2f} ({pair['low']:.2f} to {pair['high']:.2f}), n = {pair['n']}"
    return f"{pair['case']} | {pair['from']} | {pair['to']} | {pair['base ms']:.3g} | {bounds}"


def proofs_table(result: dict[str, Any]) -> list[str]:
    """Return what was asked of all exports and whether it holds, and a table of one model's engines, from a result of export.py."""
    lines = [f"- {text}: {answer}." for text, answer in result["verdicts"].items()]
    lines += [
        "",
        "| engine | difference | kB | one sample, ms | against eager | compiled | a batch, ms | against eager | compiled |",
    ]
    lines.append("|" + "---|" * 9)
    for name in (MODEL, f"{MODEL}, 8 bits"):
        for outcome in result["models"].get(name, {}).get("outcomes", []):
            if outcome["proof"] is not None:
                lines.append(" | ".join(engine_cells(name, outcome)))
    return lines


def engine_cells(name: str, outcome: dict[str, Any]) -> Iterator[str]:
    """Yield the cells of an engine: the largest difference as a share of the largest output, the size, and times by one thread."""
    proof, remark = outcome["proof"], "" if outcome["status"] == "holds" else f", {outcome['status']}"
    yield f"| {outcome['target']}{name.removeprefix(MODEL)}{remark}"
    yield f"{proof['share']:.1e}"
    yield f"{proof['bytes'] / 1000:.0f}"
    times = {one["batch"] > 1: one for one in proof["latency"] if one["threads"] == THREADS}
    for is_batch in (False, True):
        one = times.get(is_batch)
        yield f"{one['export']['ms']:.3g}" if one else ""
        yield ratio(one and one["eager"])
        yield ratio(one and one["compiled"]) + (" |" if is_batch else "")


def ratio(arm: dict[str, Any] | None) -> str:
    """Return how many times as fast an export is as an arm of torch, with bounds at 99 %."""
    return f"{arm['ratio']:.2f} ({arm['low']:.2f} to {arm['high']:.2f})" if arm else ""
