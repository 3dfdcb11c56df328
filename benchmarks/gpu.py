"""25 minutes of work on a GPU, the most valuable first. Each step has its time, and its result is written as soon as it is there.

python benchmarks/gpu.py --out benchmarks/results/DATE-gpu.json
python benchmarks/gpu.py --cifar ROOT --out FILE       # with the class folders of CIFAR-10, to 94 %
python benchmarks/gpu.py --only tests,speed            # some steps
python -m tests.rehearsal benchmarks/gpu.py --small    # that it runs at all, without a GPU
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import machine
from results import save

ROOT = Path(__file__).parents[1]
PACKAGES = ["torch", "triton", "accel-train"]
SPEED = str(Path(__file__).with_name("gpu_speed.py"))
PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]


@dataclass(frozen=True)
class Step:
    """One piece of work.

    Args:
        words: what this Python is called with.
        minutes: when it is ended.
        about: one line for the table.
        devices: how many it needs.
        is_sized: whether it has sizes that are only for trying.
    """

    words: tuple[str, ...]
    minutes: float
    about: str
    devices: int = 1
    is_sized: bool = False


STEPS: dict[str, Step] = {
    "tests": Step((*PYTEST, "tests/cuda", "--deselect", "tests/cuda/test_cuda_ranks.py"), 6, "the CUDA tests"),
    "ranks": Step((*PYTEST, "tests/cuda/test_cuda_ranks.py"), 3, "two ranks by nccl, and by gloo", devices=2),
    "sanitizer": Step(("-m", "tests.rehearsal.races"), 3, "CSAN over every plugin that moves data"),
    "speed": Step((SPEED, "resnet50"), 5, "ResNet-50, bfloat16, channels_last", is_sized=True),
    "input": Step((SPEED, "input"), 2, "batches from the host", is_sized=True),
    "overlap": Step((SPEED, "overlap"), 1, "copies under kernels, from a trace", is_sized=True),
    "stall": Step((SPEED, "stall"), 1.5, "what a checkpoint takes from the loop", is_sized=True),
    "oom": Step((SPEED, "oom"), 1, "a batch that does not fit", is_sized=True),
    "cifar10": Step((str(Path(__file__).with_name("cifar10.py")),), 4, "CIFAR-10 to 94 %"),
}


def devices() -> int:
    """How many CUDA devices there are; 0 without torch."""
    try:
        import torch
    except ImportError:
        return 0
    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def run(step: Step, words: list[str]) -> dict[str, Any]:
    """What a step printed last, how it ended, and how long it took."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    begun = perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *step.words, *words], capture_output=True, text=True, check=False, cwd=ROOT, env=environment,
            timeout=60 * step.minutes,
        )  # fmt: skip
        status, lines = str(done.returncode), (done.stdout.strip() or done.stderr.strip()).splitlines()
    except subprocess.TimeoutExpired as late:
        status, lines = "out of time", (late.stdout or b"").decode(errors="replace").strip().splitlines()
    found: dict[str, Any] = {"status": status, "seconds": round(perf_counter() - begun, 1)}
    try:
        return found | {"result": json.loads(lines[-1])}
    except (IndexError, json.JSONDecodeError):
        return found | {"lines": lines[-40:]}


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# On a GPU",
        "",
        f"{result['devices']} x {result['device']}. {machine.sentence(result)}",
        "",
        "| step | | ended | s | |",
    ]
    lines.append("|---|---|---|---:|---|")
    for name, found in result["steps"].items():
        last = found.get("result") or (found.get("lines") or [""])[-1]
        text = ", ".join(f"{key} {value}" for key, value in last.items()) if isinstance(last, dict) else str(last)
        lines.append(f"| {name} | {STEPS[name].about} | {found['status']} | {found['seconds']} | {text.replace('|', '/')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, help="write the results to this .json, and the table to the .md beside it, after each step"
    )
    parser.add_argument("--only", default=",".join(STEPS), help="steps, with commas")
    parser.add_argument(
        "--cifar", type=Path, metavar="ROOT", help="the class folders of CIFAR-10; without them that step is left out"
    )
    parser.add_argument("--small", action="store_true", help="sizes that say nothing, to try whether all runs")
    args = parser.parse_args()
    count = devices()
    if not count:
        print("gpu: there is no CUDA device here, or torch was built without CUDA; nothing was measured", file=sys.stderr)
        return 2
    import torch

    result: dict[str, Any] = {
        "schema": 1, "benchmark": "gpu", **machine.facts(threads=None, packages=PACKAGES),
        "device": torch.cuda.get_device_name(), "devices": count, "small": args.small, "steps": {},
    }  # fmt: skip
    for name in args.only.split(","):
        step, words = STEPS[name], ["--small"] * (STEPS[name].is_sized and args.small)
        if name == "cifar10":
            words = [str(args.cifar), "--device", "cuda", "--seeds", "1"]
        if count < step.devices or (name == "cifar10" and args.cifar is None):
            why = f"needs {step.devices} devices" if count < step.devices else "needs --cifar ROOT"
            result["steps"][name] = {"status": f"left out: {why}", "seconds": 0}
            continue
        result["steps"][name] = run(step, words)
        print(f"{name}: {result['steps'][name]['status']}, {result['steps'][name]['seconds']} s", file=sys.stderr, flush=True)
        if args.out is not None:
            save_quietly(result, args.out)
    save(result, table(result), args.out)
    return 0


def save_quietly(result: dict[str, Any], out: Path) -> None:
    """Writes what is there already: a machine that is taken away leaves all but the step under way."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
    out.with_suffix(".md").write_text(table(result))


if __name__ == "__main__":
    sys.exit(main())
