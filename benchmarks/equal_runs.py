"""Compare runs that are equal: `python benchmarks/equal_runs.py [JOBS] [--busy] [--out FILE.json]`.

A table of `--multirun` must not call noise a speed-up. The jobs here differ in a value that nobody uses, so every speed in the
table that is not `~` is a wrong claim. With `--busy` a loop beside them keeps a core busy half of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import machine
from results import save

__all__ = ["SPIN", "main", "read_jobs", "run_jobs", "table", "wrong_claims"]

SPIN = "import time\nwhile True:\n    time.sleep(4)\n    end = time.perf_counter() + 4\n    while time.perf_counter() < end: pass"
"""A program that keeps a core busy for 4 of every 8 seconds."""


def run_jobs(jobs: int, epochs: int, folder: Path) -> str:
    """Run equal jobs one after the other below a folder, and return what was printed."""
    values = ",".join(map(str, range(1, jobs + 1)))
    command = [sys.executable, "-m", "accel", "train", "--multirun", f"vars.copy={values}", f"epochs={epochs}", "device=cpu"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """Return median, least and most samples per second of each job, and its final test loss."""
    paths = sorted(folder.rglob("summary.json"), key=lambda path: int(path.parent.name))
    summaries = [json.loads(path.read_text()) for path in paths]
    return [{"pace": summary["pace"], "loss": summary["metrics"]["loss"]} for summary in summaries]


def wrong_claims(printed: str) -> list[str]:
    """Return the speeds that the table of the jobs claims besides the first one's, which is 1.00x by definition."""
    return re.findall(r"\d+\.\d\dx", printed[printed.rindex("speed\n") :])[1:]


def main() -> None:
    """Print the jobs' samples per second, and what the table made of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=int, nargs="?", default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="keep a core busy half of the time")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    head = machine.facts(threads=1, packages=["torch", "accel-train"])
    beside = subprocess.Popen([sys.executable, "-c", SPIN]) if args.busy else None
    try:
        with TemporaryDirectory() as folder:
            printed = run_jobs(args.jobs, args.epochs, Path(folder))
            rows = read_jobs(Path(folder))
    finally:
        if beside is not None:
            beside.kill()
            beside.wait()
    claims = wrong_claims(printed)
    result = {"schema": 1, "benchmark": "equal-runs", **head, "busy_loop": args.busy, "rows": rows, "wrong_claims": claims}
    save(result, table(head, rows, claims, args.busy), args.out)


def table(head: dict[str, Any], rows: list[dict[str, Any]], claims: list[str], busy: bool) -> str:
    """Return the results as Markdown."""
    beside = "A loop beside them kept a core busy half of the time. " if busy else ""
    lines = [
        "# Equal runs compared",
        "",
        f"{beside}{machine.sentence(head)}",
        "",
        "| job | samples/s, median | range | cores taken by other processes | test loss |",
        "|---|---|---|---|---|",
    ]
    for number, row in enumerate(rows):
        pace = row["pace"]
        spread = f"{pace['low']:,.0f} to {pace['high']:,.0f}"
        lines.append(f"| {number} | {pace['rate']:,.0f} | {spread} | {pace['busy']:.0f} % | {row['loss']:.4f} |")
    lines += ["", f"Speeds that the table of `--multirun` claimed: {', '.join(claims) or 'none'}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
