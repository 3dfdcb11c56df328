"""The best learning rate over widths, with muP and without: `python benchmarks/mup.py --out benchmarks/results/DATE-mup.json`.

The GPT of `task=text` is trained for a few updates at several widths and rates of AdamW, on the help texts that come with Python
(`pydoc_data.topics`), so nothing is downloaded. What counts is the loss on the held-out tenth. At the base width the two are one
model. It measures losses and no time, so other programs on the machine do no harm. About 5 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import machine
import torch
from results import save
from spread import shown, spread

from accel.plugins import AdamW, Cosine
from accel.tasks.text import Text

__all__ = ["BASE", "KINDS", "best_rate", "losses_by_arm", "main", "table", "train"]

BASE = 64
KINDS = ("muP", "without")
MODEL = {"context": 64, "layers": 2, "heads": 4}


def train(path: str, updates: int, case: tuple[str, int, float, int]) -> float:
    """Return the held-out loss, in nats per byte, of one run.

    Args:
        path: the text.
        updates: length of the run.
        case: with muP or without, width, learning rate, seed.
    """
    kind, width, rate, seed = case
    torch.set_num_threads(1)
    plugins = [AdamW(lr=rate, weight_decay=0.0), Cosine(warmup=0.1)]
    task = Text(
        path, **MODEL, width=width, mup_base_width=BASE if kind == "muP" else None, plugins=plugins, updates=updates, batch_size=8,
        evaluate_batches=40, seed=seed, device="cpu", watch=(),
    )  # fmt: skip
    return task.fit().metrics["loss"]


def losses_by_arm(
    widths: Sequence[int], rates: Sequence[float], seeds: int, updates: int, processes: int
) -> dict[tuple[str, int], list[list[float]]]:
    """Return the losses by kind and width: for each rate those of all seeds. At the base width there is one kind."""
    arms = [(kind, width) for kind, width in product(KINDS, widths) if width != BASE or kind == KINDS[0]]
    cases = [(*arm, rate, seed) for arm in arms for rate in rates for seed in range(seeds)]
    with TemporaryDirectory() as folder, ProcessPoolExecutor(processes) as pool:
        path = Path(folder, "topics.txt")
        path.write_text("\n".join(topics.values()), encoding="utf-8")
        losses = iter(list(pool.map(partial(train, str(path), updates), cases)))
    return {arm: [[next(losses) for _ in range(seeds)] for _ in rates] for arm in arms}


def best_rate(losses: list[list[float]], rates: Sequence[float]) -> float:
    """Return the rate with the lowest median loss."""
    return min(zip(map(median, losses), rates, strict=True))[1]


def main() -> None:
    """Print the losses at each width and rate, and which rate is the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[BASE, 128, 256])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.002, 0.004, 0.008, 0.016, 0.032, 0.064])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    head = machine.facts(threads=1, packages=["torch", "accel-train"])
    arms = losses_by_arm(args.widths, args.rates, args.seeds, args.updates, args.processes)
    rows = [
        {"kind": kind, "width": width, "best_rate": best_rate(losses, args.rates), "losses": losses}
        for (kind, width), losses in arms.items()
    ]
    settings = {"base": BASE, **MODEL, "rates": args.rates, "seeds": args.seeds, "updates": args.updates}
    save({"schema": 1, "benchmark": "mup", **head, "settings": settings, "rows": rows}, table(head, settings, rows), args.out)


def table(head: dict[str, Any], settings: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    rates = settings["rates"]
    lines = [
        "# The best learning rate over widths",
        "",
        f"Held-out loss in nats per byte after {settings['updates']} updates of 8 x {MODEL['context']} bytes, GPT of "
        f"{MODEL['layers']} blocks and {MODEL['heads']} heads, AdamW without weight decay, cosine with a warm-up of a tenth. "
        f"Median (10th .. 90th percentile) of n = {settings['seeds']} seeds; *best* is the rate with the lowest median.",
        "",
        machine.sentence(head),
        "",
        f"| model | width | best | {' | '.join(f'{rate:g}' for rate in rates)} |",
        f"|---|---|---|{'---|' * len(rates)}",
    ]
    for row in rows:
        kind = f"the base of {KINDS[0]}" if row["width"] == BASE else row["kind"]
        cells = " | ".join(shown(spread(losses), 3) for losses in row["losses"])
        lines.append(f"| {kind} | {row['width']} | {row['best_rate']:g} | {cells} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
