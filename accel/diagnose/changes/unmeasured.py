"""What cannot be measured of a run, with the reason: changes without an experiment, and all that takes a GPU."""

from __future__ import annotations

from typing import Any

import torch

from accel.engine.objectives.composite_parts import CompositeOptim, CompositePrecision
from accel.engine.objectives.composite_update import CompositeUpdate
from accel.engine.training_run import TrainingRun
from accel.parts import Compile, Layout, Optim, Precision
from accel.system.machine import lacks_bf16

__all__ = ["FUSED", "WITHOUT_GPU", "can_be_fused", "gpu_sentences", "may_cast", "may_turn", "unmeasured", "unmeasured_sentences"]

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)
"""Optimisers of torch that have a fused implementation on CPUs and on CUDA."""
WITHOUT_GPU = (
    "only a GPU has these: times of kernels and of copies to it, clocks, throttling, the PCIe link; and as remedies stream, "
    "cuda_graph and TensorFloat-32"
)


def can_be_fused(optim: Optim) -> bool:
    """Return whether the optimiser is one of torch's that has a fused implementation, and does not use it."""
    optimizer: Any = getattr(optim, "optimizer", None)
    return type(optimizer) in FUSED and not any(group.get("fused") for group in optimizer.param_groups)


def may_cast(run: TrainingRun) -> bool:
    """Return whether products in bfloat16 are possible, and not on already."""
    precision = run.parts.precision
    members = precision.members.values() if isinstance(precision, CompositePrecision) else [precision]
    return all(type(member) is Precision for member in members) and not lacks_bf16(run.device.type)


def may_turn(run: TrainingRun) -> bool:
    """Return whether weights of convolutions may be laid out in channels last, and are not already."""
    return type(run.parts.layout) is Layout and any(weight.dim() == 4 for weight in run.unwrapped_model.parameters())


def unmeasured(run: TrainingRun) -> dict[str, str]:
    """Return the changes that may be possible and that no experiment measures, each with the reason."""
    parts, reasons = run.parts, dict[str, str]()
    if type(parts.compile) is not Compile:
        reasons |= dict.fromkeys(("amp", "channels_last", "tf32"), "the model would be compiled anew for it")
    if isinstance(parts.update, CompositeUpdate):
        reasons |= {"channels_last": "each of several objectives has its own way through the model"}
        reasons |= {"fused_optimiser": "each objective has an optimiser of its own, which the task sets"}
    if parts.parallel.mesh is not None:
        reasons |= dict.fromkeys(("channels_last", "fused_optimiser"), "the ranks share the weights")
    return reasons


def unmeasured_sentences(run: TrainingRun) -> list[str]:
    """Return a sentence on the changes that would have been measured otherwise, with the reason, and one on a model that changes.

    Empty if all were measured.
    """
    possible = {
        "amp": may_cast(run), "channels_last": may_turn(run),
        "fused_optimiser": isinstance(run.parts.optim, CompositeOptim) or can_be_fused(run.parts.optim),
    }  # fmt: skip
    names: dict[str, list[str]] = {}
    for name, reason in unmeasured(run).items():
        if possible.get(name):
            names.setdefault(reason, []).append(name.replace("_", " "))
    sentences = [f"no prediction for {' and '.join(each)}: {reason}" for reason, each in names.items()]
    if changing := [shape.name for shape in run.parts.shapes().values() if shape.changes_model()]:
        sentences.append(f"measured is the model before {' and '.join(changing)} changes it between updates")
    return sentences


def gpu_sentences(device: str) -> list[str]:
    """Return a sentence on what a GPU alone could tell; none for a run on one.

    Args:
        device: kind of the device that the run computes on, such as `cpu`.
    """
    return [] if device == "cuda" else [WITHOUT_GPU]
