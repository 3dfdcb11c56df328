"""What saving costs the training: the share of the wall time that the loop waits, in the background and in the foreground.

python benchmarks/saving.py                                              # a table
python benchmarks/saving.py --out benchmarks/results/2026-11-21-saving.json   # and the results beside it
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
import torch
from results import save
from spread import shown, spread
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.checkpoints import FOLDER, Saver, capture
from accel.checkpoints.retention import names
from accel.checkpoints.snapshot import Snapshot, tensors
from accel.parts import Watch
from accel.plugins.adamw import AdamW
from accel.plugins.ema import EMA
from accel.system import atomic_files
from accel.system.clock import CHECKPOINT
from accel.tasks.models.resnet import resnet18

PACKAGES = ["torch", "accel-train"]
ARMS = ("none", "background", "foreground")
TARGET = 2.0
"""Percent of the wall time that the loop waits for saving, at most."""


class Net(Trainer):
    """ResNet-18 on random pictures, the same in every run."""

    def __init__(self, side: int, batch: int, updates: int, **run: Any) -> None:
        super().__init__(**run)
        self.side, self.batch, self.updates = side, batch, updates

    def model(self) -> nn.Module:
        return resnet18(10, self.side)

    def data(self, split: str) -> list[tuple[Tensor, Tensor]] | None:
        if split != "train":
            return None
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randn(self.batch, 3, self.side, self.side, generator=generator)
        return [(pictures, torch.randint(10, (self.batch,), generator=generator))] * self.updates

    def loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])


class Timer(Watch):
    """Times each save of the loop. In the foreground the loop waits until it is on the disk, as for torch.save and fsync."""

    def __init__(self, foreground: bool) -> None:
        super().__init__()
        self.foreground, self.waits = foreground, list[float]()

    def begin(self, run: Any) -> None:
        self.run = run
        saver: Saver = run.saver
        begin = saver.save

        def save(*given: Any) -> None:
            since = perf_counter()
            begin(*given)
            if self.foreground:
                saver.wait()
            self.waits.append(perf_counter() - since)

        saver.save = save  # type: ignore[method-assign]


def once(arm: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """One run of one arm: seconds, and the share of them in which the loop waited for saving."""
    timer = Timer(arm == "foreground")
    saving = {"out": folder / "run", "checkpoint_every": args.every, "checkpoint_minutes": None} if arm != "none" else {}
    trainer = Net(args.side, args.batch, args.updates, plugins=[AdamW(), EMA()], watch=[timer], device=args.device, **saving)
    result = trainer.fit()
    run: Any = timer.run
    found = {
        "seconds": result.seconds, "per_update": 1000 * result.seconds / args.updates,
        "waits_percent": 100 * sum(timer.waits) / result.seconds, "wait": 1000 * sum(timer.waits) / len(timer.waits),
        "end": 1000 * (run.clock.spent[CHECKPOINT] - sum(timer.waits)), "final": float(result.loss),
    }  # fmt: skip
    if arm != "none":
        (newest, *_) = reversed(names(folder / "run" / FOLDER))
        found["megabytes"] = (folder / "run" / FOLDER / f"{newest}.pt").stat().st_size / 1e6
        found |= pieces(run, folder)
    shutil.rmtree(folder / "run", ignore_errors=True)
    return found


def pieces(run: Any, folder: Path) -> dict[str, float]:
    """Milliseconds of what a save consists of, each alone and with nothing beside it: the copy, into new memory and into old; the
    look for NaN; serialising and hashing; and all of it to the disk."""
    snapshot, times = Snapshot(run.device), {}
    for name in ("copy_first", "copy"):
        since = perf_counter()
        taken = snapshot.take(capture(run, run.progress))
        snapshot.wait()
        times[name] = 1000 * (perf_counter() - since)
    since = perf_counter()
    run.saver.finite_check(taken, {})
    times["proof"] = 1000 * (perf_counter() - since)
    since = perf_counter()
    with atomic_files.replacing(folder / "piece") as stream:
        torch.save(taken, stream)
    times["write"] = 1000 * (perf_counter() - since)
    times["state_megabytes"] = sum(tensor.numel() * tensor.element_size() for _, tensor in tensors(taken)) / 1e6
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=5, help="repetitions; each runs every arm once, in a random order")
    parser.add_argument("--updates", type=int, default=50, help="updates of one run")
    parser.add_argument("--every", type=int, default=20, help="updates from one checkpoint to the next")
    parser.add_argument("--side", type=int, default=32, help="pixels of the pictures")
    parser.add_argument("--batch", type=int, default=16, help="pictures of one update")
    parser.add_argument("--threads", type=int, default=None, help="of torch; it chooses itself where left out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="where checkpoints go; a temporary folder where left out")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    head = machine.facts(threads=torch.get_num_threads(), packages=PACKAGES)
    times: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        short = argparse.Namespace(**(vars(args) | {"updates": 2, "every": 1}))
        once("background", Path(folder), short)  # what a process does once
        for _ in range(args.reps):
            for arm in rng.sample(ARMS, len(ARMS)):
                times[arm].append(once(arm, Path(folder), args))
    losses = {one["final"] for runs in times.values() for one in runs}
    if args.device == "cpu" and len(losses) != 1:
        raise SystemExit(f"the arms did not compute the same: {sorted(losses)}")
    result = {
        "schema": 1, "benchmark": "saving", **head, "repetitions": args.reps, "updates": args.updates, "every": args.every,
        "side": args.side, "batch": args.batch, "device": args.device,
        "target_percent": TARGET, "arms": {arm: summed(times, arm) for arm in ARMS},
    }  # fmt: skip
    save(result, table(result), args.out)


def summed(times: dict[str, list[dict[str, float]]], arm: str) -> dict[str, Any]:
    """Every number of one arm with its spread, and by how much its runs took longer than those without saving."""
    runs = times[arm]
    found: dict[str, Any] = {name: spread([one[name] for one in runs]) for name in runs[0] if name != "final"}
    longer = [100 * (one["seconds"] / bare["seconds"] - 1) for one, bare in zip(runs, times["none"], strict=True)]
    return {"n": len(runs), **found, "longer_percent": spread(longer)}


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    arms = result["arms"]
    background = arms["background"]
    saves = result["updates"] // result["every"]
    lines = [
        "# What saving costs",
        "",
        f"ResNet-18 with AdamW and an average of the weights, batches of {result['batch']} pictures of {result['side']} pixels, "
        f"{result['updates']} updates, a checkpoint of {background['megabytes']['median']:.0f} MB every {result['every']} "
        f"and one at the end of the epoch ({saves} + 1). *waits* is the share of the wall time in which the loop stands still for "
        "saving, and *a save* what it waits for one of them; *at the end* is the wait for the last one to reach the disk, with "
        "model.safetensors, which a run has once; *longer* is what the whole run took over one that saves nothing, in the "
        "same repetition: on a CPU the thread that writes takes its time from the training. All arms end with the same loss, "
        f"to the bit. Median (10th .. 90th percentile), n = {background['n']} interleaved.",
        "",
        machine.sentence(result),
        "",
        "| saving | ms per update | waits, % | a save, ms | at the end, ms | longer, % |",
        "|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        cells = [shown(arm["per_update"]), shown(arm["waits_percent"], 2), shown(arm["wait"]), shown(arm["end"])]
        cells.append(shown(arm["longer_percent"], 1, sign=True))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| one checkpoint, alone | ms |", "|---|---|"]
    words = {
        "copy_first": "the copy, into new memory", "copy": "the copy, into memory that is there", "proof": "the look for NaN",
        "write": "serialising, hashing, writing, fsync",
    }  # fmt: skip
    lines += [f"| {said} | {shown(background[name])} |" for name, said in words.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
