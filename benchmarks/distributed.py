"""What a second rank brings, beside raw DDP in the same processes; and how soon a killed rank is back.

python benchmarks/distributed.py                                    # two ranks, a core each; on GPUs one each, by nccl
python benchmarks/distributed.py --out benchmarks/results/2026-11-21-distributed.json

Each repetition runs every arm once, in a random order that is the same on both ranks. An arm alone runs on the first rank while the
second waits. All arms do the same work: a rank's batch is as large in each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import machine
import torch
import torch.distributed as dist
from results import save
from spread import shown, spread
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from accel.plugins.ddp import DDP, release_process_group
from accel.plugins.sgd import SGD
from accel.tasks.models.resnet import resnet18
from accel.trainer import Trainer

PACKAGES = ["torch", "accel-train"]
ROOT = Path(__file__).parents[1]
WARM = 4
"""Updates before the clock starts: DDP has then put its buckets in order."""
TARGET = 0.98
"""Our efficiency over raw DDP's own, at least."""
OVER = 2.0
"""Seconds that a recovery may take beyond twice the time of the imports."""


def mlp() -> nn.Module:
    """4.2 million parameters, 17 MB: little work for what travels."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))


CASES: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "MLP 3072-1024-1024-10": (mlp, 64, 30),
    "ResNet-18 for 32 x 32": (lambda: resnet18(10, 32), 8, 8),
}
"""The model, samples per rank, and updates that are timed."""


class Clocked(list[Any]):
    """Ready batches that carry the clock; all of them are the same tensors."""

    def __init__(self, batch: Any, ranks: int, timed: int) -> None:
        super().__init__([batch] * ((WARM + timed) * ranks))
        self.start, self.timed, self.took = WARM * ranks, timed, 0.0

    def __iter__(self) -> Iterator[Any]:
        since = 0.0
        for number in range(len(self)):
            if number == self.start:
                since = now()
            yield self[number]
        self.took = (now() - since) / self.timed


def now() -> float:
    """Milliseconds, when the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1e3 * time.perf_counter()


def loss(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def ours(case: str, ranks: int) -> float:
    """Milliseconds per update of our loop."""
    make, size, timed = CASES[case]
    batches = Clocked(data(size), ranks, timed)
    plugins = [SGD(lr=0.01), *([DDP()] if ranks > 1 else [])]
    Trainer(make(), batches, loss=loss, plugins=plugins, watch=()).fit()
    return batches.took


def raw(case: str, ranks: int, sends: bool = True) -> float:
    """Milliseconds per update of a hand-written loop over torch's own DDP."""
    make, size, timed = CASES[case]
    torch.manual_seed(0)
    model: nn.Module = make().to(device())
    ddp = DDP()
    if ranks > 1:
        ddp.join(device())
        model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    batches = Clocked(data(size), 1, timed)
    for batch in batches:
        with nullcontext() if sends else model.no_sync():  # type: ignore[operator]
            loss(model, [part.to(device()) for part in batch]).backward()
        optimizer.step()
        optimizer.zero_grad()
    if isinstance(model, DistributedDataParallel):
        release_process_group(model)
    ddp.close()
    return batches.took


def travel(case: str) -> float:
    """Milliseconds that the gradients of one update take by themselves."""
    ddp = DDP()
    ddp.join(device())
    numbers = torch.zeros(sum(param.numel() for param in CASES[case][0]().parameters()), device=device())
    for number in range(8):
        if number == 3:
            since = now()
        dist.all_reduce(numbers)
    took = (now() - since) / 5
    ddp.close()
    return took


ARMS: dict[str, tuple[int, Callable[[str], float]]] = {
    "ours, 1 rank": (1, lambda case: ours(case, 1)),
    "ours, 2 ranks": (2, lambda case: ours(case, 2)),
    "raw, 1 rank": (1, lambda case: raw(case, 1)),
    "raw DDP, 2 ranks": (2, lambda case: raw(case, 2)),
    "raw DDP, nothing sent": (2, lambda case: raw(case, 2, sends=False)),
    "the gradients alone": (2, travel),
}


def device() -> torch.device:
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")


def data(size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(10, (size,), generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=15, help="repetitions; each runs every arm once, in a random order")
    parser.add_argument("--kills", type=int, default=6, help="ranks that are killed, to see how soon they are back")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.reps, args.measure)
        return
    head = machine.facts(threads=1, packages=PACKAGES)
    with TemporaryDirectory() as folder:
        times = started(args.reps, Path(folder))
        kills = [recovery(number, Path(folder, str(number))) for number in range(args.kills)]
        imports = [imported() for _ in range(3)] if kills else []
    result = {
        "schema": 1, "benchmark": "distributed", "unit": "milliseconds per update; recovery in seconds", **head,
        "backend": "nccl" if torch.cuda.is_available() else "gloo",
        "repetitions": args.reps, "targets": {"efficiency over raw DDP's": TARGET, "recovery over twice the imports": OVER},
        "cases": {case: case_of(times[case]) for case in CASES},
        "recovery": {"times": kills, **spread(kills), "imports": spread(imports)} if kills else {},
    }  # fmt: skip
    save(result, table(result), args.out)


def torchrun(*words: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *words]


def started(reps: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """The times of every arm by case, as the first of two ranks took them."""
    found = folder / "times.json"
    subprocess.run(torchrun(__file__, "--reps", str(reps), "--measure", str(found)), check=True)
    read: dict[str, dict[str, list[float]]] = json.loads(found.read_text())
    return read


def measure(reps: int, out: Path) -> None:
    """What each rank does: its core, its arms, and a wait for the other between them."""
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    times: dict[str, dict[str, list[float]]] = {case: {name: [] for name in ARMS} for case in CASES}
    rng = random.Random(0)
    for _ in range(reps):
        for case in CASES:
            for name in rng.sample(list(ARMS), len(ARMS)):
                ranks, arm = ARMS[name]
                took = arm(case) if ranks > 1 or rank == 0 else 0.0
                times[case][name].append(took)
                meeting = DDP()
                meeting.join(device())
                meeting.close()
    if rank == 0:
        out.write_text(json.dumps(times))


class Mortal(Trainer):
    """A run for `recovery`: one of its ranks is killed in the first attempt, and the first update after it is noted."""

    noted = False

    def model(self) -> nn.Module:
        return nn.Linear(8, 2)

    def data(self, split: str) -> Any:
        return torch.utils.data.TensorDataset(torch.randn(640, 8), torch.zeros(640).long()) if split == "train" else None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        again = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
        self.calls = getattr(self, "calls", 0) + 1
        if again and not self.noted:
            self.noted = True
            Path(f"back-{os.environ['RANK']}").write_text(str(time.time()))
        if not again and self.calls == 7 and os.environ["RANK"] == os.environ["KILL"]:
            Path("dies").write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(model, batch)


def recovery(number: int, folder: Path) -> float:
    """Seconds from the death of a rank to the first update of both."""
    folder.mkdir()
    env = {**os.environ, "KILL": str(number % 2), "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    run = ["-m", "accel.train", "task._target_=distributed.Mortal", "+plugins=[ddp]", "checkpoint.every=2", "out=run"]
    subprocess.run(torchrun("--max-restarts=1", *run), cwd=folder, env=env, check=True, capture_output=True)
    died = float((folder / "dies").read_text())
    return round(max(float((folder / f"back-{rank}").read_text()) for rank in range(2)) - died, 3)


def imported() -> float:
    """Seconds that two processes take at once to import what a run imports."""
    since = time.perf_counter()
    words = [sys.executable, "-c", "import torch.nn.parallel, accel.trainer, accel.cli.train_command, accel.plugins.ddp"]
    for process in [subprocess.Popen(words, cwd=ROOT) for _ in range(2)]:
        process.wait()
    return time.perf_counter() - since


def case_of(times: dict[str, list[float]]) -> dict[str, Any]:
    """The results of one case; ratios are of arms of the same repetition."""

    def each(one: str, other: str) -> list[float]:
        return [a / b for a, b in zip(times[one], times[other], strict=True)]

    mine, theirs = each("ours, 1 rank", "ours, 2 ranks"), each("raw, 1 rank", "raw DDP, 2 ranks")
    silent, alone = times["raw DDP, nothing sent"], times["the gradients alone"]
    hidden = {
        name: [1 - (took - quiet) / travels for took, quiet, travels in zip(times[name], silent, alone, strict=True)]
        for name in ("ours, 2 ranks", "raw DDP, 2 ranks")
    }
    return {
        "n": len(mine),
        "arms": {name: {**spread(took), "times": [round(one, 3) for one in took]} for name, took in times.items()},
        "efficiency": {"ours": spread(mine), "raw DDP": spread(theirs)},
        "ratio": spread([a / b for a, b in zip(mine, theirs, strict=True)]),
        "ours over raw DDP, 2 ranks": spread(each("ours, 2 ranks", "raw DDP, 2 ranks")),
        "communication hidden": {"ours": spread(hidden["ours, 2 ranks"]), "raw DDP": spread(hidden["raw DDP, 2 ranks"])},
    }


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Two ranks",
        "",
        "Median (10th .. 90th percentile). *Efficiency*: time per update of one rank over that of two, each with a batch of its "
        f"own, all of one size; 1 is twice the samples in the same time. Target: {TARGET:g} of raw DDP's own efficiency. "
        "*Communication hidden*: the share of the time which the gradients take by themselves that does not lengthen an update, "
        "beside two ranks that send nothing.",
        "",
        machine.sentence(result) + f" Backend {result['backend']}.",
    ]
    for case, found in result["cases"].items():
        lines += ["", f"## {case} (n = {found['n']})", "", "| arm | ms per update |", "|---|---|"]
        for name, arm in found["arms"].items():
            lines.append(f"| {name} | {shown(arm, 2)} |")
        lines += ["", "| | ours | raw DDP |", "|---|---|---|"]
        for what in ("efficiency", "communication hidden"):
            lines.append(f"| {what} | {shown(found[what]['ours'], 2)} | {shown(found[what]['raw DDP'], 2)} |")
        lines += ["", f"Efficiency over raw DDP's: {shown(found['ratio'], 3)}."]
    if result["recovery"]:
        found = result["recovery"]
        lines += [
            "",
            f"## Recovery (n = {len(found['times'])})",
            "",
            "Seconds from SIGKILL of one of two ranks, in an update, to the first update of both: "
            f"{shown(found, 2)}. Importing takes two processes at once {shown(found['imports'], 2)}; the target is twice that and "
            f"{OVER:g}.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
