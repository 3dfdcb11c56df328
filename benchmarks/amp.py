"""What number formats, memory format and compiler make of a training step: time and peak memory beside plain float32.

python benchmarks/amp.py                                       # a table; --compile for torch.compile too
python benchmarks/amp.py --out benchmarks/results/DATE-amp.json  # and the results beside it
python benchmarks/amp.py --device cuda                         # larger models, float16, TF32, CUDA graphs
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

if "cuda" not in sys.argv:
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import machine
import torch
from peak import peak
from results import save
from spread import shown, spread
from steps import CASES, Case, Steps, ceiling

from accel import Trainer
from accel.parts import Part
from accel.schema import plugin_registry

PACKAGES = ["torch", "accel-train"]
BASE = "float32"
TARGETS = {"stack": {"bfloat16, channels_last": 2.0}, "transformer": {"bfloat16": 1.6}}
"""At least so many times faster than contiguous float32, on a CPU with AVX512-BF16."""


def plugin(name: str, **settings: Any) -> Part:
    """A plugin by its name."""
    made: Part = plugin_registry.load(name)(**settings)
    return made


def arms(case: Case, device: str, compiles: bool) -> dict[str, Callable[[], list[Part]]]:
    """What is measured of a case: the plugins of each arm, made anew for each of its turns."""
    backend = [plugin("backend", tf32=True)] if device == "cuda" else []
    last = [plugin("channels_last")] if case.pictures else []
    found: dict[str, Callable[[], list[Part]]] = {
        BASE: lambda: [plugin("backend", tf32=False)] if device == "cuda" else [],
        "bfloat16": lambda: [plugin("amp"), *backend],
        "master_weights": lambda: [plugin("master_weights"), *backend],
    }
    if device == "cuda":
        found["TF32"] = lambda: backend
        found["float16"] = lambda: [plugin("amp", dtype="float16"), *backend]
    if case.pictures:
        found |= {
            f"{name}, channels_last": lambda make=make: [*make(), plugin("channels_last")] for name, make in list(found.items())
        }
    best = lambda: [plugin("amp"), *backend, *last]  # noqa: E731
    name = "bfloat16, channels_last" if case.pictures else "bfloat16"
    if compiles:
        found[f"{name}, compile"] = lambda: [*best(), plugin("compile")]
    if device == "cuda" and "cuda_graph" in plugin_registry.names():
        found[f"{name}, cuda_graph"] = lambda: [*best(), plugin("cuda_graph")]
        if compiles:
            found[f"{name}, compile, cuda_graph"] = lambda: [*best(), plugin("compile"), plugin("cuda_graph")]
    return found


def train(case: Case, plugins: list[Part], device: str, updates: int) -> tuple[Steps, float]:
    """One run of accel over ready batches; returns these, which carry the clock, and the last loss."""
    torch.manual_seed(0)
    steps = Steps(case, device, updates)
    window = [plugin("accumulate", steps=case.window)] if case.window > 1 else []
    trainer = Trainer(
        case.model(), steps, loss=case.loss, plugins=[plugin("adamw", lr=1e-4), *window, *plugins], watch=(), device=device
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inductor meets what torch has deprecated
        return steps, trainer.fit().loss


def peaks(cases: list[Case], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """The peak memory of every arm on a CPU, in a process of its own each, which has trained a tiny model before."""

    def run(case: Case, make: Callable[[], list[Part]]) -> None:
        torch.set_num_threads(args.threads)
        train(case, make(), args.device, 1)

    found: dict[str, dict[str, float]] = {}
    for case, tiny in ((case, tiny) for case in cases for tiny in CASES["quick"] if tiny.name == case.name):
        chosen = arms(case, args.device, args.compile)
        found[case.name] = {name: peak(partial(run, case, make), after=partial(run, tiny, make)) for name, make in chosen.items()}
    return found


def measure(case: Case, args: argparse.Namespace, memory: dict[str, float]) -> dict[str, Any]:
    """Every arm once per repetition, in an order that is drawn anew each time."""
    chosen = arms(case, args.device, args.compile)
    flops = case.flops(args.device)
    names = {"float32", "TF32", "float16", "bfloat16"}
    formats = {name: name.partition(",")[0] if name.partition(",")[0] in names else "bfloat16" for name in chosen}
    times: dict[str, list[float]] = {name: [] for name in chosen}
    cpu: dict[str, list[float]] = {name: [] for name in chosen}
    most: dict[str, list[float]] = {form: [] for form in formats.values()}
    losses: dict[str, float] = {}
    rng = random.Random(0)
    for _ in range(args.reps):
        for form, found in most.items():
            found.append(ceiling(form, args.device, 256 if args.quick else None))
        for name in rng.sample(list(chosen), len(chosen)):
            gc.collect()
            steps, losses[name] = train(case, chosen[name](), args.device, args.updates)
            times[name].append(steps.wall * 1e3 / args.updates)
            cpu[name].append(steps.cpu * 1e3 / args.updates)
            if args.device == "cuda":
                memory[name] = steps.peak
    found = {}
    for name, taken in times.items():
        top = most[formats[name]]
        rate = [flops / took / 1e9 for took in taken]
        found[name] = {
            "n": len(taken), "time": spread(taken), "speedup": over(times, name), "cpu_speedup": over(cpu, name),
            "tflops": spread(rate), "ceiling": spread(top),
            "of_ceiling": spread([100 * mine / most for mine, most in zip(rate, top, strict=True)]),
            "peak_mb": memory[name], "loss": losses[name],
            "times": [round(took, 3) for took in taken], "cpu_times": [round(took, 3) for took in cpu[name]],
        }  # fmt: skip
    return {"case": case.name, "about": case.about, "gflop": round(flops / 1e9, 3), "arms": found}


def over(times: dict[str, list[float]], name: str) -> dict[str, float]:
    """How often an arm's time goes into that of float32 in the same repetition."""
    return spread([base / mine for base, mine in zip(times[BASE], times[name], strict=True)])


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    targets = ", ".join(f"{case}: {arm} {least:g}" for case, one in result["targets"].items() for arm, least in one.items())
    lines = [
        "# Number formats, memory format and compiler", "",
        "Milliseconds per update (forward, backward and fused AdamW, through `Trainer.fit`); median (10th .. 90th percentile) of "
        f"{result['repetitions']} interleaved runs of {result['updates']} timed updates. *faster* is beside `{BASE}` in the same "
        "repetition, by the clock and by the CPU time of the process. *of the ceiling*: the arithmetic of the model in float32 "
        "over the time, beside a large matrix product in the arm's format in the same repetition. *peak* is "
        f"{result['peak']}. *loss* is that of the last update: arms of equal loss compute the same. Targets on a CPU with "
        f"AVX512-BF16, at least: {targets}.", "",
        machine.sentence(result) + (f" {result['gpu']}." if result["gpu"] else ""),
    ]  # fmt: skip
    columns = ["arm", "ms", "faster", "by CPU time", "TFLOP/s", "of the ceiling", "peak", "loss"]
    for case in result["cases"]:
        lines += ["", f"## {case['case']}: {case['about']}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for name, arm in case["arms"].items():
            cells = [
                name, shown(arm["time"]), shown(arm["speedup"], digits=2), shown(arm["cpu_speedup"], digits=2),
                f"{arm['tflops']['median']:.3f}", f"{arm['of_ceiling']['median']:.0f} %", f"{arm['peak_mb']:,.0f} MB",
                f"{arm['loss']:.5f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of torch on the CPU")
    parser.add_argument("--reps", type=int, default=9, help="repetitions; each runs every arm once, in a random order")
    parser.add_argument("--updates", type=int, default=3, help="timed updates of each run, after two that are not")
    parser.add_argument("--cases", nargs="+", choices=[case.name for case in CASES["cpu"]], help="default: all")
    parser.add_argument("--compile", action="store_true", help="with torch.compile too, which takes minutes")
    parser.add_argument("--quick", action="store_true", help="tiny models, two repetitions: whether it works, not how fast")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    if args.quick:
        args.reps, args.updates, args.threads = 2, 1, 1
    cases = [case for case in CASES["quick" if args.quick else args.device] if args.cases is None or case.name in args.cases]
    head = machine.facts(threads=args.threads, packages=PACKAGES)
    torch.set_num_threads(1)
    memory = {} if args.device == "cuda" else peaks(cases, args)
    meant = "what CUDA had allocated" if args.device == "cuda" else "what a process of its own took beyond training a tiny model"
    torch.set_num_threads(args.threads)
    result = {
        "schema": 1, "benchmark": "amp", "unit": "milliseconds per update", **head, "device": args.device,
        "gpu": torch.cuda.get_device_name() if args.device == "cuda" else None, "peak": meant,
        "repetitions": args.reps, "updates": args.updates, "targets": TARGETS,
        "cases": [measure(case, args, memory.get(case.name, {})) for case in cases],
    }  # fmt: skip
    save(result, table(result), args.out)


if __name__ == "__main__":
    main()
