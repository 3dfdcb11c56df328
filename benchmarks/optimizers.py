"""What a step of the optimiser costs: milliseconds, and how often the time that its traffic to memory needs at least.

python benchmarks/optimizers.py                                        # a table, of the CPU and of CUDA where there is one
python benchmarks/optimizers.py --out benchmarks/results/DATE-optimizers.json  # and the results beside it
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import machine
import torch
from results import save
from spread import shown, spread
from torch.nn import Parameter

from accel.optim import LAMB, LARS
from accel.optim.adamw import FusedAdamW
from accel.parts import Grads

PACKAGES = ["torch", "accel-train", "timm"]
TRAFFIC = {"adamw": 28, "lamb": 48, "lars": 28}
"""Bytes that a step must move per float32 parameter. AdamW reads weight, gradient and two moments and writes all but the gradient.
LARS reads weight and gradient once more, for their norms, and has one moment less. LAMB also has to have the norm of all gradients
before it begins, and that of each update before it moves a weight."""
TARGETS = {"accel AdamW": 1.05, "accel LAMB": 1.45, "accel LARS": 1.7, "folded over bare": 1.35}
FASTER = {"accel LAMB": ("timm LAMB", 3.5), "accel LARS": ("timm LARS", None)}
"""Beside whom, and how many times faster it should be at least."""
INNER = {"cpu": 1, "cuda": 10}
"""Steps in one measurement: on a GPU several, so that launching one overlaps with the work of another, as in training."""
BARE, FOLDED = "accel AdamW", "accel AdamW, unscale and clip folded"
FLOOR = "in-place add"
Shape = tuple[int, ...]


def resnet50() -> list[Shape]:
    """The parameters of ResNet-50: 25.6 M in 161."""
    found: list[Shape] = [(64, 3, 7, 7), (64,), (64,)]
    width = 64
    for planes, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            kernels: list[Shape] = [(planes, width, 1, 1), (planes, planes, 3, 3), (4 * planes, planes, 1, 1)]
            kernels += [(4 * planes, width, 1, 1)] * (block == 0)
            for kernel in kernels:
                found += [kernel, kernel[:1], kernel[:1]]
            width = 4 * planes
    return [*found, (1000, 2048), (1000,)]


def bert_base() -> list[Shape]:
    """The parameters of BERT-base: 109.5 M in 199."""
    wide, inner = 768, 3072
    found: list[Shape] = [(30522, wide), (512, wide), (2, wide), (wide,), (wide,)]
    for _ in range(12):
        found += [(wide, wide), (wide,)] * 4 + [(wide,), (wide,)]
        found += [(inner, wide), (inner,), (wide, inner), (wide,), (wide,), (wide,)]
    return [*found, (wide, wide), (wide,)]


MODELS: dict[str, Callable[[], list[Shape]]] = {"ResNet-50": resnet50, "BERT-base": bert_base}


def step_of(make: Callable[[list[Parameter]], Any]) -> Callable[[list[Parameter]], Callable[[], Any]]:
    """An arm that only steps."""
    return lambda params: make(params).step


def consuming(make: Callable[[list[Parameter]], Any]) -> Callable[[list[Parameter]], Callable[[], Any]]:
    """An arm that only steps, as the plugin does: it need not leave the gradients as they are."""

    def arm(params: list[Parameter]) -> Callable[[], Any]:
        optimizer = make(params)
        optimizer.frees_grads = True
        step: Callable[[], Any] = optimizer.step
        return step

    return arm


def folded(params: list[Parameter]) -> Callable[[], None]:
    """Loss scale and clip travel to the kernel: what `amp` in float16 and `clip` make of a step."""
    optimizer, scale = FusedAdamW(params), torch.ones((), device=params[0].device)

    def step() -> None:
        grads = Grads(list(params), scale)
        grads.need_found_inf()
        grads.divide_by(grads.norm().add(1e-6).clamp_(min=1.0))
        optimizer.grad_scale, optimizer.found_inf = grads.scale, grads.found_inf
        optimizer.step()

    return step


def unfolded(params: list[Parameter]) -> Callable[[], None]:
    """The same as torch's users write it: unscale_, clip_grad_norm_, step, update."""
    optimizer = torch.optim.AdamW(params, fused=True)
    scaler = torch.amp.GradScaler(params[0].device.type, init_scale=1.0, growth_interval=10**9)
    scaler.scale(torch.ones((), device=params[0].device))

    def step() -> None:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        scaler.step(optimizer)
        scaler.update()

    return step


ARMS: dict[str, tuple[str, Callable[[list[Parameter]], Callable[[], Any]]]] = {
    "torch AdamW, loop": ("adamw", step_of(lambda params: torch.optim.AdamW(params, foreach=False))),
    "torch AdamW, foreach": ("adamw", step_of(lambda params: torch.optim.AdamW(params, foreach=True))),
    "torch AdamW, fused": ("adamw", step_of(lambda params: torch.optim.AdamW(params, fused=True))),
    BARE: ("adamw", step_of(FusedAdamW)),
    FOLDED: ("adamw", folded),
    "torch AdamW, unscale and clip apart": ("adamw", unfolded),
    "accel LAMB": ("lamb", consuming(LAMB)),
    "accel LAMB, p.grad kept": ("lamb", step_of(LAMB)),
    "accel LARS": ("lars", step_of(LARS)),
}


def peers() -> tuple[dict[str, tuple[str, Callable[[list[Parameter]], Callable[[], Any]]]], dict[str, str]]:
    """The same optimisers of timm, and which of them are left out and why.

    timm's package imports torchvision, which its optimisers do not need: they are imported without it.
    """
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        return {}, dict.fromkeys(("timm LAMB", "timm LARS"), "timm is not installed: pip install 'accel-train[peers]'")
    for name, folder in (("timm", Path(spec.origin).parent), ("timm.optim", Path(spec.origin).parent / "optim")):
        package = sys.modules.setdefault(name, ModuleType(name))
        package.__path__ = [str(folder)]
    from timm.optim.lamb import Lamb
    from timm.optim.lars import Lars

    return {
        "timm LAMB": ("lamb", step_of(lambda params: Lamb(params, lr=1e-3, weight_decay=0.01))),
        "timm LARS": ("lars", step_of(lambda params: Lars(params, lr=0.1, momentum=0.9, weight_decay=1e-4))),
    }, {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=15, help="repetitions; each runs every arm once, in a random order")
    parser.add_argument("--models", nargs="+", choices=[*MODELS, "tiny"], default=list(MODELS))
    parser.add_argument("--devices", nargs="+", choices=list(INNER), default=list(INNER))
    parser.add_argument("--only", nargs="+", default=[""], help="words; the arms that have none of them are left out")
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = machine.facts(threads=1, packages=PACKAGES)
    theirs, missing = peers()
    left_out = {name: why for name, why in missing.items() if any(word in name for word in args.only)}
    if "cuda" in args.devices and not torch.cuda.is_available():
        args.devices.remove("cuda")
        left_out["CUDA"] = "no CUDA device"
    arms = {name: arm for name, arm in (ARMS | theirs).items() if name == BARE or any(word in name for word in args.only)}
    result = {
        "schema": 2, "benchmark": "optimizers", "unit": "milliseconds per step", **head,
        "repetitions": args.reps, "targets": TARGETS, "traffic": TRAFFIC, "left_out": left_out,
        "cases": [measure(name, device, arms, args.reps) for device in args.devices for name in args.models],
    }  # fmt: skip
    save(result, table(result), args.out)


def measure(model: str, device: str, arms: dict[str, Any], reps: int) -> dict[str, Any]:
    """Every arm on the parameters of a model, once per repetition, in an order that is drawn anew each time.

    Each arm is made anew for its turn, so that all find memory alike, and steps three times; the last two are timed.
    """
    shapes = MODELS[model]() if model in MODELS else [(8, 8), (8,)]
    count = sum(torch.Size(shape).numel() for shape in shapes)
    times: dict[str, list[float]] = {name: [] for name in (FLOOR, *arms)}
    rng = random.Random(0)
    for _ in range(reps):
        for name in rng.sample(list(times), len(times)):
            gc.collect()
            if name == FLOOR:
                times[name].append(add(count, device))
                continue
            step = arms[name][1](made(shapes, device))
            took = [timed(step, device) for _ in range(3)]
            times[name].append(min(took[1:]))
    named = torch.cuda.get_device_name() if device == "cuda" else machine.cpu()
    found = {"model": model, "device": device, "on": named, "parameters": count, "tensors": len(shapes)}
    return found | {"arms": compared(times, arms, count), "faster": faster(times)}


def faster(times: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """How many times faster ours are than a peer's, by repetition."""
    found = {}
    for mine, (peer, target) in FASTER.items():
        if mine in times and peer in times:
            ratios = [theirs / ours for ours, theirs in zip(times[mine], times[peer], strict=True)]
            found[mine] = {"than": peer, "times": spread(ratios), "target": target}
    return found


def compared(times: dict[str, list[float]], arms: dict[str, Any], count: int) -> dict[str, Any]:
    """The times of each arm, over the floor of its traffic and over the bare step, by repetition."""
    found: dict[str, Any] = {FLOOR: {"n": len(times[FLOOR]), "bytes": 12, "time": spread(times[FLOOR]), "times": times[FLOOR]}}
    for name, (kind, _) in arms.items():
        share = TRAFFIC[kind] / 12
        over = [mine / (floor * share) for mine, floor in zip(times[name], times[FLOOR], strict=True)]
        bare = [mine / base for mine, base in zip(times[name], times[BARE], strict=True)]
        found[name] = {
            "n": len(over), "bytes": TRAFFIC[kind], "time": spread(times[name]), "over_floor": spread(over),
            "over_bare": spread(bare), "times": [round(took, 3) for took in times[name]],
        }  # fmt: skip
    return found


def made(shapes: list[Shape], device: str = "cpu") -> list[Parameter]:
    """Parameters with gradients, the same on every call."""
    rng = torch.Generator(device).manual_seed(0)
    params = [Parameter(torch.randn(shape, generator=rng, device=device).mul_(0.05)) for shape in shapes]
    for param in params:
        param.grad = torch.randn(param.shape, generator=rng, device=device).mul_(0.01)
    return params


def add(count: int, device: str) -> float:
    """Milliseconds of `a += b` over float32 tensors of `count` numbers: 12 bytes per number."""
    a, b = torch.zeros(count, device=device), torch.ones(count, device=device)
    return min(timed(lambda: a.add_(b), device) for _ in range(3))


def timed(step: Callable[[], Any], device: str) -> float:
    """Milliseconds of one call, the mean of `INNER`, until the device has finished them."""
    wait = torch.cuda.synchronize if device == "cuda" else int
    wait()
    started = perf_counter()
    for _ in range(INNER[device]):
        step()
    wait()
    return (perf_counter() - started) * 1e3 / INNER[device]


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    targets = ", ".join(f"{name} {number:g}" for name, number in result["targets"].items())
    lines = [
        "# What a step of the optimiser costs",
        "",
        "Milliseconds per step, one thread, float32; median (10th .. 90th percentile). *over the floor* is the time divided by "
        "that of the bytes that the step must move (*B*, per parameter), at the speed of an in-place add in the same repetition; "
        f"*over bare* is beside `{BARE}`. Targets, at most: {targets}.",
        "",
        machine.sentence(result),
    ]
    if result["left_out"]:
        lines += ["", "Left out: " + "; ".join(f"{name} ({why})" for name, why in result["left_out"].items()) + "."]
    for case in result["cases"]:
        n = case["arms"][FLOOR]["n"]
        size = f"{case['parameters'] / 1e6:.1f} M in {case['tensors']} tensors"
        lines += ["", f"## {case['model']} on {'CUDA' if case['device'] == 'cuda' else 'the CPU'} ({size}, n = {n})", ""]
        lines += ["| step | B | time | over the floor | over bare |", "|---|---|---|---|---|"]
        for name, arm in case["arms"].items():
            ratios = [shown(arm[key], digits=2) if key in arm else "" for key in ("over_floor", "over_bare")]
            lines.append(f"| {name} | {arm['bytes']} | {shown(arm['time'])} | {' | '.join(ratios)} |")
        for name, found in case["faster"].items():
            target = "" if found["target"] is None else f" (target: at least {found['target']})"
            lines += ["", f"{name} is {shown(found['times'], digits=2)} times faster than {found['than']}{target}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
