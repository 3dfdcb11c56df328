"""The rows of a result of mutants, and its table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import machine
from mutation import Mutation

__all__ = ["FATES", "key", "new_row", "report", "sentence"]

FATES = ("killed", "survived", "equivalent", "needs a GPU", "not judged", "rewritten")


def new_row(mutation: Mutation, root: Path) -> dict[str, Any]:
    """Return the row of a mutant that was not judged: the first four fields tell it from all others, wherever its line moves."""
    return {
        "file": mutation.path.relative_to(root).as_posix(), "old": mutation.old, "new": mutation.new, "nth": mutation.nth,
        "line": mutation.line, "mutation": f"{mutation.before} -> {mutation.after}", "fate": "not judged", "by": "", "seconds": 0.0,
    }  # fmt: skip


def key(row: dict[str, Any]) -> tuple[str, str, str, int]:
    """Return a row's identity."""
    return row["file"], row["old"], row["new"], row.get("nth", 0)


def sentence(row: dict[str, Any]) -> str:
    """Return what is printed of a row."""
    mutation = " ".join(row["mutation"].split())
    return f"{row['fate']:10} {row['seconds']:5.0f} s  {row['file']}:{row['line']}  {mutation}  ({row['by']})"


def report(
    rows: list[dict[str, Any]], facts: dict[str, Any], total: int, options: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    """Return the result and its table."""
    counts = {fate: sum(row["fate"] == fate for row in rows) for fate in FATES}
    tested = counts["killed"] + counts["survived"]
    others = {
        "equivalent": "that change no result",
        "needs a GPU": "on lines that only a GPU executes",
        "not judged": "that were not judged",
        "rewritten": "on lines that were rewritten since",
    }
    head = (
        f"{len(rows)} of {total} mutants of the files that decide what is computed, drawn with seed {options.seed}: "
        f"{counts['killed']} killed of {tested}, {100 * counts['killed'] / max(1, tested):.1f} %."
    )
    left_out = ", ".join(f"{counts[fate]} {words}" for fate, words in others.items() if counts[fate])
    head += f" Not counted: {left_out}." if left_out else ""
    if options.again:
        head += " The survivors of an earlier judgement were judged again, after tests for them were written."
    head += f" {options.note}" if options.note else ""
    lines = ["# Mutants", "", machine.sentence(facts), "", head, "", "| fate | where | mutation | reason |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["file"], row["line"])):
        if row["fate"] != "killed":
            mutation = " ".join(row["mutation"].split()).replace("|", "\\|")
            lines.append(f"| {row['fate']} | {row['file']}:{row['line']} | `{mutation}` | {row['by']} |")
    result = {
        "machine": facts,
        "population": total,
        "seed": options.seed,
        "again": bool(options.again),
        "note": options.note,
        **counts,
        "mutants": rows,
    }
    return result, "\n".join(lines) + "\n"
