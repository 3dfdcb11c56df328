"""What plugins that change a model's modules cost while it trains, and what what they ship takes: beside the model without them.

python benchmarks/shapes.py                                              # a table
python benchmarks/shapes.py --out benchmarks/results/DATE-shapes.json    # and the results beside it
python benchmarks/shapes.py --only distill "lowbit, kind=twn"            # some of the rows
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import machine
import torch
from results import save
from steps import Case, stack
from torch.utils.data import TensorDataset

import accel
from accel.compare import Limits, SpeedRatio, interleave
from accel.compare.bootstrap import LEVEL
from accel.device.memory_peak import tensor_bytes
from accel.diagnose.ablation.arm import Arm
from accel.diagnose.ablation.trial_request import named_plugins, trial_request
from accel.engine.request import RunRequest
from accel.engine.shaping.shape_changes import change_shape
from accel.parts import Part
from accel.plugins import SGD, Distill, FoldBN, LowBit, Prune, Reparam
from accel.report.other_load import OtherLoad
from accel.schema import plugin_registry
from accel.system.stop_signals import StopSignals

PACKAGES = ["torch", "numpy", "accel-train", "torch-pruning", "torchao"]
SETS: dict[str, Callable[[], list[Part]]] = {
    "distill": lambda: [Distill(teacher=stack(), cache_mb=0)],
    "distill, hints": lambda: [Distill(teacher=stack(), cache_mb=0, hints=["7", "16"])],
    "reparam": lambda: [Reparam()],
    "reparam, kind=acnet": lambda: [Reparam(kind="acnet")],
    "reparam, fold_bn": lambda: [Reparam(), FoldBN()],
    "fold_bn": lambda: [FoldBN()],
    "prune, end=0": lambda: [Prune(end=0)],
    "prune, importance=taylor": lambda: [Prune(importance="taylor", end=0.9, taylor_updates=1000)],
    "prune, importance=bn_scale": lambda: [Prune(importance="bn_scale", end=0.9)],
    "prune, mode=weights, end=0": lambda: [Prune(mode="weights", end=0)],
    "lowbit, kind=twn": lambda: [LowBit(kind="twn")],
    "lowbit, kind=bwn": lambda: [LowBit(kind="bwn")],
    "lowbit, kind=dorefa, bits 4, 4 and 6": lambda: [LowBit(kind="dorefa", weight_bits=4, input_bits=4, gradient_bits=6)],
}
"""Plugins by the words of a row. With `end=0` the model is pruned when the clock starts; taylor and bn_scale prune later."""
if "qat" in plugin_registry.names():
    SETS["qat"] = lambda: [plugin_registry.load("qat")()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS), metavar="SET", help="; ".join(SETS))
    parser.add_argument("--seconds", type=float, default=45.0, help="for each comparison, about, of which a row has two")
    parser.add_argument("--rounds", type=int, default=12, help="of four windows each, at least")
    parser.add_argument("--side", type=int, default=32, help="of the pictures, in pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the results to this .json, and the table to the .md beside it")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    head = machine.facts(threads=args.threads, packages=PACKAGES)
    case = Case("stack", f"7 convolutions of 64 to 256 channels with BatchNorm, 32 pictures of {args.side} pixels", stack,
                (32, 3, args.side, args.side))  # fmt: skip
    limits, load = Limits(min_rounds=args.rounds, seconds=args.seconds), OtherLoad()
    rows = [row(name, case, limits) for name in args.only]
    result = {
        "schema": 1, "benchmark": "shapes", "unit": "times the seconds without", **head, "about": case.about,
        "others percent": load.percent(), "rows": rows,
    }  # fmt: skip
    save(result, table(result), args.out)


def trainer(case: Case, plugins: Callable[[], list[Part]], updates: int = 1000, out: str | None = None) -> accel.Trainer:
    """A run on one batch, again and again."""
    x, y = case.batch("cpu")
    data = TensorDataset(x, y)
    return accel.Trainer(
        case.model(), data, data, loss=case.loss, plugins=[*plugins(), SGD(lr=1e-4)], batch_size=len(y), updates=updates, out=out,
        watch=(), device="cpu", seed=0,
    )  # fmt: skip


def request(case: Case, plugins: Callable[[], list[Part]]) -> RunRequest:
    """The run as `accel ablate` times it."""
    asked = trainer(case, plugins)._request()
    return trial_request(asked, named_plugins(asked))


def row(name: str, case: Case, limits: Limits) -> dict[str, Any]:
    """The costs of one set of plugins."""
    plain, changed = (request(case, each) for each in (list, SETS[name]))
    with StopSignals(at_once=True) as signals, closing(Arm(plain, signals)) as one, closing(Arm(changed, signals)) as other:
        change_shape(other.run)  # as the loop does before its first update
        one.calibrate()
        other.calibrate()
        update = interleave(one.window, other.window, limits).inverse
        milliseconds = 1000 * one.update_seconds, 1000 * other.update_seconds
        teachers = getattr(other.run.parts.objective, "teachers", [])
        peaks = one.peak_bytes(), other.peak_bytes() + tensor_bytes(param for each in teachers for param in each.parameters())
    speed, distance = use(name, case, limits)
    print(f"{name}: {shown(update)} in training, {shown(speed)} in use", flush=True)
    return {
        "plugins": name, "update": vars(update), "update ms": milliseconds, "use": vars(speed), "distance": distance,
        "peak bytes": peaks,
    }  # fmt: skip


def use(name: str, case: Case, limits: Limits) -> tuple[SpeedRatio, float]:
    """How many times as long as the plain model what is shipped takes, and how far its output is from that of what was trained."""
    with TemporaryDirectory() as folder:
        trainer(case, SETS[name], updates=3, out=folder).fit()
        files = [f"{folder}/shipped.safetensors", f"{folder}/model.safetensors"]
        shipped, trained = (accel.load(file if Path(file).exists() else files[1], model=case.model()) for file in files)
    x, _ = case.batch("cpu")
    with torch.inference_mode():
        distance = float((shipped(x) - trained(x)).abs().max() / trained(x).abs().max())
        models = case.model().eval(), shipped
        windows = [lambda model=model: forward(model, x) for model in models]
        return interleave(*windows, limits).inverse, distance


def forward(model: Any, x: torch.Tensor) -> float:
    """Seconds of one pass."""
    began = perf_counter()
    model(x)
    return perf_counter() - began


def shown(ratio: SpeedRatio) -> str:
    return f"{ratio.ratio:.2f} ({ratio.low:.2f} .. {ratio.high:.2f}), n={ratio.rounds}"


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# What a change of the model's modules costs", "",
        f"{result['about']}; float32, SGD. *Update* and *use* are the time of an update, and of a forward pass of what is shipped, "
        "in times those of the model without the plugin, which takes turns with it: below 1 is faster "
        f"(bounds that hold it with {LEVEL:.0%}; n rounds of four windows). *Memory* is what tensors take in an update, as "
        "`accel ablate` counts it, and the weights of a teacher. "
        "*Distance*: of the outputs of the shipped model from those of the trained one, in evaluation, "
        "as a share of the largest.", "",
        f"{machine.sentence(result)} Other processes took {result['others percent'] or 0.0:.0f} % of the cores.", "",
        "| plugins | update | memory | use | distance |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for each in result["rows"]:
        update, speed = (shown(SpeedRatio(**each[key])) for key in ("update", "use"))
        before, after = (count / 2**20 for count in each["peak bytes"])
        memory = f"{before:.1f} to {after:.1f} MiB, {after / before:.2f} times"
        lines.append(f"| {each['plugins']} | {update} | {memory} | {speed} | {each['distance']:.1e} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
