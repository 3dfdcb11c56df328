"""The two sides of each comparison of deploy_claims.py: engines by accel's targets, in processes of their own, and torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from deploy_models import Unmerged, block, chain, depthwise, lstm_cell
from strided_convnets import Student, Teacher
from torch import Tensor, nn

from accel.compress import conv_norm_pairs, fold_norms
from accel.compress.add_branches import BranchPlan, insert_branches
from accel.export.all_targets import make_target, target_class
from accel.export.example import ModelCall, make_example
from accel.export.graph_module import GraphModule
from accel.export.quantisation.quantisation import Quantisation
from accel.export.quantisation.variant import EIGHT_BITS
from accel.export.runtime.engine_process import RuntimeFailed
from accel.export.runtime.runtime_process import RuntimeProcess
from accel.export.traced import quiet_build

WINDOW = 0.02
"""Seconds of a window, about."""
THREADED = ("torchscript", "onnx", "openvino", "mnn", "ncnn", "litert", "executorch", "tvm")
Window = Callable[[], float]
Sides = tuple[Window, Window, Mapping[str, str]]


class NotRun(Exception):
    """A pair that cannot be measured here. Its text is the reason."""


@dataclass(frozen=True)
class Pair:
    """Two ways of doing the same."""

    case: str
    base: str
    other: str
    sides: Callable[[], Any]
    """Context manager that gives the windows of both, and the versions of their engines."""


def fusion(pythons: Mapping[str, str]) -> Iterator[Pair]:
    """Three of the four workloads of figure 4 of TVM's paper, and a chain of elementwise operators."""
    for name, (model, inputs) in {**block(), **depthwise(), **lstm_cell(), **chain()}.items():
        yield Pair(
            name, "TVM without FuseOps", "TVM", lambda m=model, x=inputs: engines("tvm", m, x, pythons, {"fusion": False}, {})
        )
        yield Pair(name, "torch, eager", "torch.compile (Inductor)", lambda m=model, x=inputs: torches(m, torch.compile(m), x))


def integers(pythons: Mapping[str, str]) -> Iterator[Pair]:
    """Every engine with 8 bits beside itself with float32."""
    model, inputs = prepared(Teacher(10)), (torch.randn(8, 3, 32, 32),)
    layers = tuple(name for name, one in folded(model).named_modules() if isinstance(one, nn.Conv2d | nn.Linear))
    for target in ("onnx", "openvino", "mnn", "executorch", "litert", "tvm"):
        kinds = [variant for variant in target_class(target).variants if variant in EIGHT_BITS]
        if not kinds:
            yield Pair(target, "float32", "8 bits", lambda t=target: refused(f"target={t} writes no 8 bits"))
        for variant in kinds:
            settings = {"variant": variant, "quantisation": Quantisation(layers, calibration=(inputs,))}
            yield Pair(
                f"{target}, batch of {batch_of(target, inputs)}", "float32", variant,
                lambda t=target, s=settings: engines(t, folded(model), inputs, pythons, {}, s),
            )  # fmt: skip


def threads(pythons: Mapping[str, str]) -> Iterator[Pair]:
    """Every engine with one thread, and with two."""
    model, inputs = folded(prepared(Teacher(10))), (torch.randn(8, 3, 32, 32),)
    for target in THREADED:
        yield Pair(
            f"{target}, batch of {batch_of(target, inputs)}", "1 thread", "2 threads",
            lambda t=target: engines(t, model, inputs, pythons, {}, {}, (1, 2)),
        )  # fmt: skip


def folding(pythons: Mapping[str, str]) -> Iterator[Pair]:
    """The convnet with its norms, and with them folded, by torch in eager mode."""
    model = prepared(Student(10))
    for batch in (1, 8):
        x = (torch.randn(batch, 3, 32, 32),)
        yield Pair(f"torch, batch of {batch}", "conv, norm", "conv", lambda x=x: torches(model, folded(model), x))


def merging(pythons: Mapping[str, str]) -> Iterator[Pair]:
    """RepVGG's three branches as they are trained, and as they are shipped, by torch in eager mode."""
    branched: nn.Module = prepared(Student(10))
    for layer, norm in conv_norm_pairs(branched).items():
        conv: Any = branched.get_submodule(layer)
        same = conv.in_channels == conv.out_channels and conv.stride == (1, 1)
        branched = insert_branches(branched, layer, BranchPlan(["pointwise", "identity"] if same else ["pointwise"], norm))
    merged = folded(branched)
    for batch in (1, 8):
        x = (torch.randn(batch, 3, 32, 32),)
        yield Pair(f"torch, batch of {batch}", "branches", "merged", lambda x=x: torches(Unmerged(branched).eval(), merged, x))


def prepared(model: nn.Module) -> nn.Module:
    """Return a model in evaluation mode whose norms have seen data."""
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(32, 3, 32, 32))
    return model.eval()


def folded(model: nn.Module) -> nn.Module:
    """Return a copy as it is shipped: branches merged, norms folded."""
    from accel.compress import merge_branches

    copy = merge_branches(deepcopy(model))
    return fold_norms(copy, conv_norm_pairs(copy))[0].eval()


def batch_of(target: str, inputs: tuple[Tensor, ...]) -> int:
    """Return how many samples of some inputs a target takes at once."""
    return target_class(target).batch or len(inputs[0])


@contextmanager
def refused(reason: str) -> Iterator[Sides]:
    """Raise NotRun."""
    raise NotRun(reason)
    yield


@contextmanager
def torches(base: nn.Module, other: Any, inputs: tuple[Tensor, ...]) -> Iterator[Sides]:
    """Give the windows of two functions of torch, which must agree."""
    torch.set_num_threads(1)
    with torch.inference_mode():
        sides = [lambda count, f=function: elapsed(lambda: f(*inputs), count) for function in (base, other)]
        agree(base(*inputs).numpy(), other(*inputs).numpy(), 1e-3)
        yield window(sides[0]), window(sides[1]), {}


@contextmanager
def engines(
    target: str, model: nn.Module, inputs: tuple[Tensor, ...], pythons: Mapping[str, str], one: dict[str, Any], two: dict[str, Any],
    threads: tuple[int, int] = (1, 1),
) -> Iterator[Sides]:  # fmt: skip
    """Give the windows of a target with two settings of its build, or two numbers of threads; what they compute must agree."""
    python, kind = pythons.get(target), target_class(target)
    if missing := kind.missing(python) or kind.cannot_run():
        raise NotRun(missing)
    with ExitStack() as stack, torch.no_grad():
        example = make_example(model, ModelCall(inputs, {}, None), "none", batch_of(target, inputs))
        made: list[tuple[RuntimeProcess, Any]] = []
        for count, settings in zip(threads, (one, two), strict=True):
            folder = Path(stack.enter_context(TemporaryDirectory()))
            with quiet_build(target):
                built = make_target(target, {"python": python, **settings})
                built.build(GraphModule(model, example).eval(), example, folder)
            try:
                process = stack.enter_context(RuntimeProcess(target, folder, count, python, built.variant))
                made.append((process, process.run([x.numpy() for x in example.inputs]).outputs[0]))
            except RuntimeFailed as error:
                raise NotRun(str(error)) from None
        arrays = [x.numpy() for x in example.inputs]
        agree(made[0][1], made[1][1], 0.1 if two.get("variant") else 1e-3)
        sides = [lambda count, p=process: p.run(arrays, count).seconds for process, _ in made]
        yield window(sides[0]), window(sides[1]), made[0][0].versions


def agree(one: Any, two: Any, share: float) -> None:
    """Raise NotRun if two outputs are further apart than a share of the largest number."""
    apart = float(np.abs(one - two).max() / np.abs(one).max())
    if not apart <= share:
        raise NotRun(f"the two sides compute something else (largest difference {apart:.2g} of the largest output)")


def window(timed: Callable[[int], float]) -> Window:
    """Return a function that makes as many calls as fill a window, and returns the seconds of one."""
    timed(3)
    count = max(1, round(WINDOW / max(timed(1), 1e-7)))
    return lambda: timed(count) / count


def elapsed(call: Callable[[], object], count: int) -> float:
    """The seconds of some calls."""
    began = perf_counter()
    for _ in range(count):
        call()
    return perf_counter() - began
