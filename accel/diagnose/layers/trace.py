"""Trace of a model: its operators with their work, and how long they take, over several passes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from time import perf_counter

from torch import nn

from accel.diagnose.layers.array_copies import ArrayCopies, ArrayCopy
from accel.diagnose.layers.model_pass import ModelPass
from accel.diagnose.layers.module_path import ModulePath
from accel.diagnose.layers.operation import Operation
from accel.diagnose.layers.operation_recorder import OperationRecorder, OperationTimes, Signature
from accel.diagnose.layers.operator_timer import make_timer, timed_pass

__all__ = ["MOST_PASSES", "Trace", "trace"]

MOST_PASSES = 100


@dataclass
class Trace:
    """Operators of one pass, each with the least time of several passes.

    Args:
        operations: in the order in which they ran.
        seconds: of each whole pass, measured without looking at its operators.
        timed: passes whose operators were timed, and ran in the same order.
        without_gradient: names of trained parameters that got no gradient.
        array_copies: what `torch.tensor` copies of arrays, by line of code.
    """

    operations: list[Operation]
    seconds: list[float]
    timed: int
    without_gradient: list[str] = field(default_factory=list)
    array_copies: dict[str, ArrayCopy] = field(default_factory=dict)


def trace(subject: ModelPass, seconds: float, say: Callable[[str], None] = lambda line: None) -> Trace:
    """Return the trace of a model. Its gradients are those of the last pass; all else is the caller's to put back.

    Args:
        subject: the pass.
        seconds: of measuring, about; one pass of each kind is made whatever it takes.
        say: is told what is measured.
    """
    say("the operators of a pass")
    operations = _record(subject)
    without_gradient = _without_gradient(subject.model) if subject.backward is not None else []
    say("the time of each operator")
    subject.clear()
    with ModulePath(subject.model) as path, ArrayCopies(path) as copies:
        subject.run()  # warm, too
    plain: list[float] = []
    times: list[list[float]] = []
    signatures = [(one.name, one.layer, one.backward) for one in operations]
    end = perf_counter() + seconds
    while not plain or (perf_counter() < end and len(plain) < MOST_PASSES):
        subject.clear()
        start = timed_pass(subject.device)
        subject.run()
        plain.append(timed_pass(subject.device) - start)
        subject.clear()
        order, spent = _time(subject)
        if order == signatures:
            times.append(spent)
    if not times:  # the model takes another way each time: one pass stands for all
        times, operations = [spent], _renamed(operations, order)
    # what else runs on a machine makes a pass slower, and none faster: the least is what the model itself takes
    operations = [replace(one, seconds=min(row)) for one, row in zip(operations, zip(*times, strict=True), strict=True)]
    return Trace(operations, plain, len(times), without_gradient, copies.lines)


def _record(subject: ModelPass) -> list[Operation]:
    """Return the operators of a pass, with all facts but their time."""
    with ExitStack() as stack:
        path = stack.enter_context(ModulePath(subject.model))
        recorder = OperationRecorder(path, make_timer(subject.device), subject.model)
        with recorder:
            subject.run()
    return recorder.operations


def _time(subject: ModelPass) -> tuple[list[Signature], list[float]]:
    """Return name, layer and direction of each operator of a pass, and its seconds."""
    with ModulePath(subject.model) as path:
        timer = make_timer(subject.device)
        times = OperationTimes(path, timer)
        with times:
            subject.run()
    return times.signatures, timer.seconds()


def _renamed(operations: list[Operation], order: list[Signature]) -> list[Operation]:
    """Return an operation for each signature: the first that has it, or one of which no more is known."""
    known = {(one.name, one.layer, one.backward): one for one in reversed(operations)}
    return [known.get(each) or Operation(each[0], each[1], backward=each[2]) for each in order]


def _without_gradient(model: nn.Module) -> list[str]:
    """Return the names of the trained parameters that have no gradient after a backward pass."""
    return [name for name, param in model.named_parameters() if param.requires_grad and param.grad is None]
