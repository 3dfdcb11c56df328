"""What it costs that a sample draws its own random numbers: samples per second with the rule and without it, by each loader.

python benchmarks/random_samples.py                                            # a table
python benchmarks/random_samples.py --out benchmarks/results/DATE-random.json    # and the results beside it
"""

from __future__ import annotations

import argparse
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import numpy as np
import torch
from PIL import Image
from results import save
from spread import shown, spread
from torch import Tensor
from torch.utils.data import Dataset

from accel.data.batches.make_batches import make_batches
from accel.data.loaders.ring import Ring
from accel.data.loaders.worker_pool import WorkerPool

PACKAGES = ["torch", "numpy", "pillow", "accel-train"]


class Rows(Dataset[Tensor]):
    """Rows of a tensor: the cheapest samples that a data set of one's own can have."""

    def __init__(self, draws: bool) -> None:
        self.rows, self.draws = torch.zeros(4096, 32), draws

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        row = self.rows[index]
        return row + torch.rand(32) if self.draws else row


class Photographs(Dataset[Tensor]):
    """JPEGs with a random crop, a flip and a change of brightness, drawn as torchvision's transforms draw them."""

    def __init__(self) -> None:
        smooth = np.random.default_rng(0).integers(256, size=(12, 16, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(smooth).resize((480, 360), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        self.jpeg = stream.getvalue()

    def __len__(self) -> int:
        return 256

    def __getitem__(self, index: int) -> Tensor:
        picture = Image.open(io.BytesIO(self.jpeg)).convert("RGB")
        side = float(torch.empty(1).uniform_(0.3, 1)) * 360
        left, top = int(torch.randint(0, int(480 - side) + 1, (1,))), int(torch.randint(0, int(360 - side) + 1, (1,)))
        picture = picture.resize((160, 160), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1) * random.uniform(0.6, 1.4)
        return pixels.flip(-1) if torch.rand(1) < 0.5 else pixels


DATA: dict[str, Callable[[], Any]] = {
    "rows that draw nothing": lambda: Rows(False),
    "rows that draw": lambda: Rows(True),
    "photographs that draw": Photographs,
}
LOADERS = ("plain", "threads", "workers")


def rate(data: str, loader: str, rule: bool, readers: int) -> float:
    """Return the samples per second of one epoch, after one that is not counted."""
    batches: Any = make_batches(DATA[data](), 32, seed=0, shuffle=True)
    batches.randomness.trusted = not rule
    pool, ring = None, None
    read: Callable[[int], Iterator[Any]] = lambda epoch: batches.epoch(epoch)  # noqa: E731
    if loader == "workers":
        pool = WorkerPool([batches], readers, 2, None)
        read = lambda epoch: pool.batches(0, epoch, 0)  # noqa: E731
    elif loader == "threads":
        ring = Ring(batches.data, 32, seed=0, shuffle=True, threads=readers)
        ring.batches.randomness.trusted = ring.batches.randomness.trusted or not rule
        ring.first_in_turn = rule
        read = ring.epoch
    for _ in read(0):
        pass
    since = perf_counter()
    for _ in read(1):
        pass
    seconds = perf_counter() - since
    for opened in (pool, ring):
        if opened is not None:
            opened.close()
    return batches.samples / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=7, help="repetitions; each runs every arm once, in a random order")
    parser.add_argument("--readers", type=int, default=2, help="threads or workers")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = machine.facts(threads=1, packages=PACKAGES)
    # without the rule, threads would read what draws side by side, which is wrong: there is nothing to compare with
    arms = [
        (data, loader, rule)
        for data in DATA
        for loader in LOADERS
        for rule in (True, False)
        if rule or loader != "threads" or "nothing" in data
    ]
    rates: dict[tuple[str, str, bool], list[float]] = {arm: [] for arm in arms}
    rng = random.Random(0)
    for _ in range(args.reps):
        for arm in rng.sample(arms, len(arms)):
            rates[arm].append(rate(*arm, args.readers))
    rows = [
        {"data": data, "loader": loader, "rule": rule, "n": args.reps, "samples_per_second": spread(rates[data, loader, rule])}
        for data, loader, rule in arms
    ]
    for row in rows:
        bare = rates.get((row["data"], row["loader"], False))
        if row["rule"] and bare is not None:
            extra = [1e6 / one - 1e6 / other for one, other in zip(rates[row["data"], row["loader"], True], bare, strict=True)]
            row["microseconds_more"] = spread(extra)
    result = {"schema": 1, "benchmark": "random", **head, "repetitions": args.reps, "readers": args.readers, "rows": rows}
    save(result, table(result), args.out)


def table(result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# A sample's own random numbers",
        "",
        f"{result['date']}, {result['cores']} cores of {result['cpu']}; n = {result['repetitions']} interleaved, median (10th "
        f"to 90th percentile); batches of 32, {result['readers']} threads or workers.",
        "",
        "| data | loader | samples/s without the rule | with it | microseconds more for a sample |",
        "|---|---|---|---|---|",
    ]
    for row in (row for row in result["rows"] if row["rule"]):
        bare = [one for one in result["rows"] if not one["rule"] and (one["data"], one["loader"]) == (row["data"], row["loader"])]
        before = shown(bare[0]["samples_per_second"], 0) if bare else "-"
        more = shown(row["microseconds_more"], 2, sign=True) if bare else "-"
        lines.append(f"| {row['data']} | {row['loader']} | {before} | {shown(row['samples_per_second'], 0)} | {more} |")
    return "\n".join([*lines, "", "Threads read what draws in turn, as they did before; workers side by side.", ""])


if __name__ == "__main__":
    main()
