"""Pictures per second into a training loop: accel beside torch's DataLoader with Pillow, and beside its peers.

python benchmarks/input_pipeline.py ROOT --work WORK [--cifar DIR]     # a table; ROOT holds photographs, at any depth
python benchmarks/input_pipeline.py ROOT --work WORK --peers PYTHON    # and the peers that this Python can import
python benchmarks/input_pipeline.py ROOT --work WORK --out benchmarks/results/DATE-input.json    # and the results beside it

WORK is made, and takes the stores: some 300 MB for 250 photographs and CIFAR-10. What is there already is not packed again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from feeds import ARMS, PEERS, SMALL, SMALL_ARMS, SMALL_STORES, STORES, Arm, Job, every, load

HERE = Path(__file__).resolve()
PACKAGES = ["torch", "accel-train", "pillow", "numpy", "opencv-python-headless", "simplejpeg", "lmdb"]
PEER_PACKAGES = ["nvidia-dali-cuda130", "spdl", "ffcv", "webdataset", "timm", "torchvision", "torch", "pillow"]
FIRST = 1.5
"""Seconds from asking to the first batch, at most."""
LIMIT = 90.0
"""Seconds that one run may take; what has not come by then hangs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder of the photographs")
    parser.add_argument("--work", type=Path, required=True, help="the folder of the stores")
    parser.add_argument("--cifar", type=Path, help="the folder of CIFAR-10's pictures: train/<class>/*.jpg")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has the peers")
    parser.add_argument("--rounds", type=int, default=3, help="each runs every arm once, in random order")
    parser.add_argument("--seconds", type=float, default=2.0, help="timed in one run, after a warm-up of a quarter of that")
    parser.add_argument("--cores", type=int, default=2, help="that each run is pinned to")
    parser.add_argument("--crops", type=int, default=150, help="by which the pixels are compared; 0 leaves that out")
    parser.add_argument("--only", nargs="+", metavar="ARM", help="those whose names begin so, and what they are compared with")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    parser.add_argument("--one", metavar="ARM", help=argparse.SUPPRESS)  # one run, in a process of its own
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    job = Job(args.work.resolve(), args.cifar and args.cifar.resolve(), args.cores, args.seed)
    if args.one:
        print(json.dumps(one(every()[args.one], job, args.seconds, args.crops)), flush=True)
        os._exit(0)  # some peers never end their threads
    compare(args, job)


def one(arm: Arm, job: Job, seconds: float, crops: int) -> dict[str, Any]:
    """One run of one arm: pictures per second, seconds to the first batch, memory."""
    if crops:
        from feeds.distance import distance

        return {"pixels": distance(job, arm, crops)}
    feed = load(arm)
    # the small pictures for as many as a whole epoch has, whose end and beginning are among them
    least = sum(1 for _ in job.cifar.glob("train/*/*")) if job.cifar and arm.base == SMALL else 0
    asked = perf_counter()
    batches = feed(job)
    batch = touched(next(batches))
    first = perf_counter() - asked
    if arm.ours and crosses():
        batches = sent(batches)
    timed(batches, seconds / 4)
    busy, own = clocks()
    count, took = timed(batches, seconds, least)
    later, ours = clocks()
    others = max(0.0, (later - busy - (ours - own)) / (took * len(os.sched_getaffinity(0))))
    return {
        "rate": count / took, "cpu": 1e6 * (ours - own) / count, "first": first, "memory": memory(), "others": others,
        "shape": list(batch.shape), "dtype": str(batch.dtype),
    }  # fmt: skip


def timed(batches: Iterator[Any], seconds: float, least: int = 0) -> tuple[int, float]:
    """Takes batches for so long, 6 and `least` pictures at least: how many pictures, in how many seconds."""
    count, number, begin = 0, 0, perf_counter()
    while (took := perf_counter() - begin) < seconds or number < 6 or count < least:
        count += len(touched(next(batches)))
        number += 1
    return count, took


def touched(batch: Any) -> Any:
    """The pictures of a batch as an array, some of whose bytes were read."""
    picture_files = batch[0] if isinstance(batch, tuple | list) else batch
    if getattr(picture_files, "is_cuda", False):
        picture_files.view(-1)[::4096].sum()
        return picture_files
    picture_files = picture_files.numpy() if hasattr(picture_files, "numpy") else picture_files
    picture_files.reshape(-1)[::4096].sum()
    return picture_files


def crosses() -> bool:
    """Whether the batches go on to a GPU."""
    import torch

    return torch.cuda.is_available()


def sent(batches: Iterator[Any]) -> Iterator[Any]:
    """The same batches on the GPU, each copied beside the work on the one before."""
    import torch

    from accel.data.loaders.device_copy import DeviceCopier, prefetch_one

    copies = DeviceCopier(torch.device("cuda"), beside=True)
    return prefetch_one(batches, copies.start, copies.finish)


def clocks() -> tuple[float, float]:
    """Seconds for which the cores of this process were busy, and for which this process and its children were."""
    tick = os.sysconf("SC_CLK_TCK")
    mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    busy = sum(sum(map(int, row[1:4])) + sum(map(int, row[6:9])) for row in rows if row[0] in mine)
    stats = [Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split() for number in processes()]
    return busy / tick, sum(int(stat[11]) + int(stat[12]) for stat in stats) / tick


def processes() -> list[int]:
    """This process and its children."""
    me = os.getpid()
    return [me, *(int(child) for task in Path(f"/proc/{me}/task").glob("*/children") for child in task.read_text().split())]


def memory() -> float:
    """Megabytes that this process and its children held at their peak, pages of mapped files among them."""
    lines = [line for number in processes() for line in Path(f"/proc/{number}/status").read_text().splitlines()]
    return round(sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)


def compare(args: argparse.Namespace, job: Job) -> None:
    """Packs, runs every arm in every round, and prints."""
    import machine
    from results import save

    arms = chosen(args)
    head = machine.facts(threads=None, packages=PACKAGES)
    lay_out(args.root.resolve(), job.work)
    sizes = pack(job, {arm.store for arm in arms.values()})
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    failed: dict[str, str] = {}
    for turn in range(args.rounds):
        for name in random.sample(list(arms), len(arms)):
            if name not in failed:
                found = run(name, arms[name], args, turn)
                if isinstance(found, str):
                    failed[name] = found
                else:
                    runs[name].append(found)
    pixels = {name: run(name, arm, args, 0, args.crops) for name, arm in arms.items() if arm.ours and args.crops}
    result = {
        "schema": 1, "benchmark": "input", "unit": "pictures per second", **head,
        "repetitions": args.rounds, "seconds": args.seconds, "batch": job.batch, "pinned": args.cores,
        "peer_versions": versions(args.peers), "sizes": sizes, "failed": failed,
        "arms": {name: summed(arm, name, runs) | (pixels.get(name) or {}) for name, arm in arms.items() if runs[name]},
        "device": on_device(),
    }  # fmt: skip
    save(result, table(result), args.out)


def chosen(args: argparse.Namespace) -> dict[str, Arm]:
    """The arms of this comparison by name."""
    arms = ARMS | (SMALL_ARMS if args.cifar else {}) | (PEERS if args.peers else {})
    if args.only:
        named = {name: arm for name, arm in arms.items() if name.startswith(tuple(args.only))}
        if not named:
            sys.exit(f"no arm begins with {' or '.join(args.only)}; there are: {', '.join(arms)}")
        bases = {arm.base for arm in named.values()}
        arms = {name: arm for name, arm in arms.items() if name in named or name in bases}
    return arms


def run(name: str, arm: Arm, args: argparse.Namespace, seed: int, crops: int = 0) -> dict[str, Any] | str:
    """One run in a process of its own; why not, where it fails."""
    python = args.peers if arm.peer else sys.executable
    command = [python, str(HERE), str(args.root), "--one", name, "--work", str(args.work), "--seconds", str(args.seconds)]
    command += ["--cores", str(args.cores), "--seed", str(seed), "--crops", str(crops)]
    command += ["--cifar", str(args.cifar)] if args.cifar else []
    quiet = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths = os.pathsep.join(filter(None, [str(HERE.parents[1]), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, check=False, preexec_fn=lambda: pin(args.cores),
            env={**os.environ, **quiet, "PYTHONPATH": paths},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not end within {LIMIT:g} seconds"
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not found:
        why = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:300]
        if not arm.peer:
            sys.exit(f"{name} failed:\n{done.stderr}")
        return why
    result: dict[str, Any] = json.loads(found[-1])
    said = f"{result['rate']:10,.0f} pictures/s, others {result['others']:4.0%}" if "rate" in result else f"    {result['pixels']}"
    print(f"{said}  {name}", file=sys.stderr, flush=True)
    return result


def pin(cores: int) -> None:
    """Keeps this process, and all that it begins, to the first so many cores that it may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def lay_out(root: Path, work: Path) -> None:
    """The photographs as one class folder, by links."""
    from accel.data.store import picture_files

    folder = work / "pictures" / "all"
    if folder.exists():
        return
    files = picture_files(root)
    if not files:
        sys.exit(f"{root} has no pictures")
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        (folder / f"{number:06}{Path(file).suffix.lower()}").symlink_to(file)


def pack(job: Job, stores: set[str]) -> dict[str, int]:
    """Makes the stores that are missing, by the command line; the bytes of each, and of the files."""
    sizes = {"files": sum(file.stat().st_size for file in (job.work / "pictures" / "all").iterdir())}
    wanted = [(job.work / "pictures", job.work / STORES[store][0], STORES[store][1]) for store in STORES if store in stores]
    if job.cifar:
        small = [SMALL_STORES[store] for store in SMALL_STORES if store in stores]
        wanted += [(job.cifar / "train", job.work / file, flags) for file, flags in small]
    for source, target, flags in wanted:
        if not target.exists():
            command = [sys.executable, "-m", "accel", "pack", str(source), str(target), *flags]
            done = subprocess.run(command, cwd=HERE.parents[1], stdout=sys.stderr, check=False)
            if done.returncode:
                sys.exit(f"{' '.join(command)} ended with {done.returncode}")
        sizes[target.name] = target.stat().st_size
    return sizes


def versions(python: str | None) -> dict[str, str]:
    """Those of the peers' packages."""
    if python is None:
        return {}
    code = "import sys, json, machine; print(json.dumps({name: machine.installed(name) for name in sys.argv[1:]}))"
    done = subprocess.run([python, "-c", code, *PEER_PACKAGES], cwd=HERE.parent, capture_output=True, text=True, check=True)
    return {name: found for name, found in json.loads(done.stdout).items() if found}


def summed(arm: Arm, name: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The medians of one arm, and how many times the rate of the plain one it has in the same round."""
    from spread import spread

    ours, base = runs[name], runs[arm.base]
    return {
        "rate": spread([run["rate"] for run in ours]), "rates": [round(run["rate"], 1) for run in ours],
        "ratio": spread([run["rate"] / plain["rate"] for run, plain in zip(ours, base, strict=False)]), "target": arm.target,
        "first": spread([run["first"] for run in ours]), "memory": spread([run["memory"] for run in ours]),
        "others": spread([run["others"] for run in ours]), "cpu": spread([run["cpu"] for run in ours]),
        "store": arm.store, "shape": ours[0]["shape"], "dtype": ours[0]["dtype"],
    }  # fmt: skip


def on_device() -> dict[str, Any] | str:
    """What of it reaches a GPU; why not, where there is none."""
    import torch

    if not torch.cuda.is_available():
        return "skipped: there is no CUDA device"
    from feeds.gpu import hidden

    return hidden()


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    import machine
    from spread import shown

    lines = [
        "# Input pipeline",
        "",
        f"Pictures per second into a loop that only takes them, {result['pinned']} cores, page cache warm: random resized crop at "
        f"224 pixels and flip, batches of {result['batch']}; CIFAR-10: crop of 32 pixels with a pad of 4, and flip. Median "
        "(10th .. 90th percentile). *Ratio* is to the DataLoader with Pillow in the same round, which gives float32; ours uint8. "
        "*CPU* is microseconds of processor time per picture, of all processes together; *first* seconds from asking to the first "
        "batch, all imported; *memory* the peak of resident memory in MB, of all processes together, mapped files among it; *PSNR* "
        "the median in dB to the original by Pillow, antialiased, at the same windows.",
        "",
        machine.sentence(result),
        "",
        f"n = {result['repetitions']}, interleaved, each run a process of its own",
        "",
        "| arm | pictures/s | ratio | target | CPU | first | memory | PSNR |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in result["arms"].items():
        target = f"{arm['target']:g}" if arm["target"] else ""
        found = arm.get("pixels")
        dots = "" if not found else "same" if found["psnr"] is None else f"{found['psnr']:.1f}"
        lines.append(
            f"| {name} | {shown(arm['rate'], 0)} | {shown(arm['ratio'], 2)} | {target} | {shown(arm['cpu'], 0)} | "
            f"{arm['first']['median']:.2f} | {arm['memory']['median']:.0f} | {dots} |"
        )
    others = max(arm["others"]["median"] for arm in result["arms"].values())
    lines += ["", f"Other programs took at most {others:.0%} of the time of these cores (the largest median of an arm).", ""]
    lines += [*(f"Not run: {name}: {why}\n" for name, why in result["failed"].items())]
    if result["peer_versions"]:
        lines.append("Peers: " + ", ".join(f"{name} {number}" for name, number in result["peer_versions"].items()) + "\n")
    lines.append("Sizes: " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in result["sizes"].items()) + "\n")
    device = result["device"]
    lines.append(f"On a GPU: {device if isinstance(device, str) else json.dumps(device)}\n")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
