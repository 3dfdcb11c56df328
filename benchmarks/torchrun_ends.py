"""Count the exit codes of short runs under torchrun: `python benchmarks/torchrun_ends.py [RUNS] [RANKS] [--out FILE.json]`.

A process that has trained may still end badly, where a thread of gloo outlives Python ("terminate called without an active
exception", exit code 1). Each run here has new processes, trains for a few updates with the plugin ddp or fsdp, in turn,
evaluates, saves, and ends. torchrun itself is forked, imported already, which spares a third of the time.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from time import monotonic
from typing import Any

import machine
import torch.distributed.run as torchrun
from results import save

__all__ = ["PLUGINS", "SCRIPT", "main", "run_once", "start", "table"]

PLUGINS = ("ddp", "fsdp")
SCRIPT = """
import sys

import torch
from torch import nn
from torch.utils.data import TensorDataset
from accel import Trainer

points = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
data = TensorDataset(points, points.argmax(1) % 3)
Trainer(
    nn.Linear(8, 3), data, val=data, watch=(), batch_size=8, epochs=2, device="cpu", plugins=sys.argv[1:2], out=sys.argv[2],
    loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
).fit()
"""


def run_once(script: Path, ranks: int, plugin: str) -> tuple[int, str]:
    """Return the exit code of torchrun, which is not 0 if any rank's is not, and what was printed."""
    with TemporaryFile("w+") as text, TemporaryDirectory() as out:
        words = ["--standalone", f"--nproc-per-node={ranks}", str(script), plugin, str(Path(out, "run"))]
        process = get_context("fork").Process(target=start, args=(words, text.fileno()))
        process.start()
        process.join()
        text.seek(0)
        return process.exitcode or 0, text.read()


def start(words: list[str], descriptor: int) -> None:
    """Start torchrun in this process, with its output and that of its ranks in a file. Never return."""
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torchrun.main(words)


def main() -> None:
    """Print what each bad run said, and how often each exit code came."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int, nargs="?", default=200, help="runs of each plugin")
    parser.add_argument("ranks", type=int, nargs="?", default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so long")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    head = machine.facts(threads=1, packages=["torch", "accel-train"])
    codes: dict[str, Counter[int]] = {plugin: Counter() for plugin in PLUGINS}
    begin = monotonic()
    with TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text(SCRIPT)
        for _ in range(args.runs):
            for plugin in PLUGINS:
                if monotonic() - begin > 60 * args.minutes:
                    break
                code, text = run_once(script, args.ranks, plugin)
                codes[plugin][code] += 1
                if code:
                    print(text, flush=True)
    rows = [
        {"plugin": plugin, "n": count.total(), "codes": {str(code): number for code, number in sorted(count.items())}}
        for plugin, count in codes.items()
    ]
    save({"schema": 1, "benchmark": "ends", **head, "ranks": args.ranks, "rows": rows}, table(head, args.ranks, rows), args.out)


def table(head: dict[str, Any], ranks: int, rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# How runs under torchrun end",
        "",
        f"{ranks} ranks. {machine.sentence(head)}",
        "",
        "| plugin | runs | ended with 0 | with another exit code |",
        "|---|---|---|---|",
    ]
    for row in rows:
        others = ", ".join(f"{number} with {code}" for code, number in row["codes"].items() if code != "0")
        lines.append(f"| {row['plugin']} | {row['n']} | {row['codes'].get('0', 0)} | {others or 'none'} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
