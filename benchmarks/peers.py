"""What a training loop must keep, run against every peer that is installed: who keeps what.

    python benchmarks/peers.py                                                     # a table
    python benchmarks/peers.py --out benchmarks/results/2026-11-20-peers.json      # and the results beside it

Each peer runs in a process of its own, on the CPU, with one thread, and is driven as its documentation shows
(`benchmarks/promises/`). Nothing here is timed: the answers are numbers that are right or wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import machine
from promises import PEERS, PROMISES
from results import save

HERE = Path(__file__).parent
PACKAGES = ["torch", "accel-train", "accelerate", "lightning", "mosaicml", "mmengine", "pytorch-ignite"]
MINUTES = 5
"""How long one peer may take for all of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME", help=", ".join(PEERS))
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    head = machine.facts(threads=1, packages=PACKAGES)
    missing = {name: f"{PEERS[name][0]} is not installed" for name in args.only if find_spec(PEERS[name][0]) is None}
    seen = {name: verdicts(observe(PEERS[name][1])) for name in args.only if name not in missing}
    result = {"schema": 1, "benchmark": "peers", **head, "missing": missing, "peers": seen}
    save(result, table(result), args.out)


def observe(module: str) -> dict[str, dict[str, Any]]:
    """What one peer does with every promise. Raises SystemExit, with its last words, where it does not run at all."""
    surroundings = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-m", "promises.observe", module],
        env=surroundings, capture_output=True, text=True, timeout=60 * MINUTES,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{module} does not run here: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def verdicts(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same with `kept`: whether the promise is, and None where there is nothing that could keep it."""
    return {
        name: {**seen, "kept": None if "lacks" in seen else "saw" in seen and PROMISES[name].kept(seen["saw"])}
        for name, seen in found.items()
    }


def table(result: dict[str, Any]) -> str:
    """The results as Markdown: a row for each promise, a column for each peer, and what was seen below."""
    peers = result["peers"]
    lines = [
        "# What is kept",
        "",
        "Each peer is driven as its documentation shows, with a model of one weight whose gradient is known. *-*: it has nothing "
        "of the kind, or cannot be run without CUDA.",
        "",
        machine.sentence(result),
        "",
        "| | " + " | ".join(peers) + " |",
        "|---" * (len(peers) + 1) + "|",
    ]
    lines += [
        f"| {promise.title} | " + " | ".join(word(seen[name]) for seen in peers.values()) + " |"
        for name, promise in PROMISES.items()
    ]
    lines += ["", "## What was seen", ""]
    for name, promise in PROMISES.items():
        lines += [f"**{promise.title.capitalize()}**: {promise.unit}.", ""]
        lines += [f"- {peer}: {said(seen[name])}" for peer, seen in peers.items()] + [""]
    lines += [f"{name} is left out: {why}." for name, why in result["missing"].items()]
    return "\n".join(lines).rstrip() + "\n"


def word(seen: dict[str, Any]) -> str:
    return {True: "yes", False: "**no**", None: "-"}[seen["kept"]]


def said(seen: dict[str, Any]) -> str:
    if "saw" in seen:
        return ", ".join(map(str, seen["saw"])) if isinstance(seen["saw"], list) else str(seen["saw"])
    return seen.get("lacks") or seen["failed"]


if __name__ == "__main__":
    main()
