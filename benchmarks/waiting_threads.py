"""Threads that wait for one another, spinning and sleeping, beside other programs: the time of a small network's update.

python benchmarks/waiting_threads.py --out benchmarks/results/DATE-waiting-threads.json
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import torch
from results import save
from spread import shown, spread
from torch.nn.functional import cross_entropy

from accel.device.cpu.waiting_threads import WaitingThreads
from accel.system.cpu.run_delay import RunDelay
from accel.tasks.models.convnet import convnet

BESIDE = [(0, 0.0), (1, 0.3), (1, 0.6), (1, 1.0), (2, 0.6), (2, 1.0)]
"""Processes that compute beside it, and for which share of the time."""
UPDATES = 60
COMPUTES = """
import sys, time
share = float(sys.argv[1])
while True:
    began = time.perf_counter()
    while time.perf_counter() - began < 0.02 * share: pass
    time.sleep(0.02 * (1 - share))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="each measures both, one after the other")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    waiting = WaitingThreads(torch.device("cpu"))
    if not waiting.active or torch.get_num_threads() == 1:
        sys.exit("this takes GNU's OpenMP, two threads, and neither OMP_WAIT_POLICY nor GOMP_SPINCOUNT set")
    update = make_update()
    rows = [measure(count, share, args.rounds, waiting, update) for count, share in BESIDE]
    head = machine.facts(threads=torch.get_num_threads(), packages=["torch", "accel-train"])
    result = {"schema": 1, "benchmark": "waiting_threads", "unit": "milliseconds per update", **head, "rows": rows}
    save(result, table(result), args.out)


def make_update() -> Any:
    """An update of the digits' network on 32 pictures of 8 x 8."""
    torch.manual_seed(0)
    model, x, y = convnet(10, 32), torch.randn(32, 1, 8, 8), torch.randint(10, (32,))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def update() -> None:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return update


def measure(count: int, share: float, rounds: int, waiting: WaitingThreads, update: Any) -> dict[str, Any]:
    """Both, beside `count` processes that compute for `share` of the time: mean ms of an update, and threads that waited."""
    beside = [subprocess.Popen([sys.executable, "-c", COMPUTES, str(share)]) for _ in range(count)]
    spinning, sleeping = [], []
    try:
        for _ in range(rounds):
            spinning.append(block(update))
            waiting.shorten()
            sleeping.append(block(update))
            waiting.lengthen()
    finally:
        for process in beside:
            process.kill()
            process.wait()
    kinds = {"spinning": spinning, "sleeping": sleeping}
    return {"processes": count, "share": share} | {
        name: {"ms": spread([ms for ms, _ in blocks]), "waited": spread([waited for _, waited in blocks]), "n": len(blocks)}
        for name, blocks in kinds.items()
    }


def block(update: Any) -> tuple[float, float]:
    """Mean milliseconds of an update, and how many threads waited for a core meanwhile."""
    delay, began = RunDelay(), perf_counter()
    for _ in range(UPDATES):
        update()
    return 1000 * (perf_counter() - began) / UPDATES, delay.share() or 0.0


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Threads that wait, beside other programs", "",
        f"Milliseconds per update (mean of {UPDATES}) of the digits' network, and in brackets how many threads waited for a core "
        f"on average. Both in turn, n = {result['rows'][0]['spinning']['n']}; median (10th .. 90th percentile).", "",
        machine.sentence(result), "", "| beside it | spinning | sleeping at once |", "|---|---|---|",
    ]  # fmt: skip
    for row in result["rows"]:
        name = f"{row['processes']} computing {row['share']:.0%} of the time" if row["processes"] else "nothing"
        cells = [f"{shown(row[kind]['ms'])} [{row[kind]['waited']['median']:.2f}]" for kind in ("spinning", "sleeping")]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
