"""Experiments: one thing about an update is changed, and both ways take turns on the same batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import nn

from accel.compare import Limits, SpeedRatio, interleave
from accel.device.cpu.thread_trial import mean_seconds
from accel.device.memory_peak import AllocationPeak
from accel.diagnose.changes.unmeasured import can_be_fused, may_cast, may_turn, unmeasured
from accel.diagnose.decision.figures import Experiment
from accel.diagnose.probes.probed_run import ProbedRun
from accel.engine.objectives.composite_update import CompositeUpdate
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError, TrainingError
from accel.parts.model import Backend
from accel.plugins.backend import Float32Switches
from accel.system.cpu.kept_memory import KEPT_MEMORY, obstacle
from accel.system.cpu.malloc_thresholds import moving_thresholds

__all__ = [
    "FEWEST", "ROUNDS", "SECONDS", "fused_steps", "holding", "in_turn", "peak_bytes",
    "run_experiments",
]  # fmt: skip

ROUNDS, FEWEST, ENOUGH = 12, 4, 8
"""Rounds of four windows in turn, at most and at least (`accel.compare.interleave`), and as many as bounds want."""
SECONDS, LONGEST = 2.5, 10.0
"""For one experiment, about; and for one of long updates, which would have too few rounds."""
REFILLED = 3
"""Updates after which a process has the memory again that it had given back."""


def run_experiments(probed: ProbedRun, until: float) -> dict[str, Experiment]:
    """Return the experiments that can be made in a run, by name. One whose change fails is left out.

    They change the precision of the products, the layout of weights, the memory's management and the optimiser's kernels; none
    that the run has on already, and none of `unmeasured`. Every rank must call it: each computes for itself.

    Args:
        probed: the run.
        until: time (`perf_counter`) after which none is begun.
    """
    run = probed.run
    parts, parallel, left_out = run.parts, run.parts.parallel, unmeasured(run)
    makers: dict[str, Callable[[], Experiment | None]] = {}
    if may_cast(run) and "amp" not in left_out:
        makers["amp"] = partial(_cast, probed)
    if may_turn(run) and "channels_last" not in left_out:
        makers["channels_last"] = partial(_channels_last, probed)
    if type(parts.backend) is Backend:
        makers |= {"kept_memory": partial(_kept_memory, probed)} if run.device.type == "cpu" and not obstacle() else {}
        makers |= {"tf32": partial(_tf32, probed)} if run.device.type == "cuda" else {}
    if can_be_fused(parts.optim) and "fused_optimiser" not in left_out:
        makers["fused_optimiser"] = partial(fused_steps, probed)
    everywhere = set.intersection(*map(set, parallel.gather(list(makers))))
    results = {}
    for name, make in makers.items():
        if name not in everywhere:
            continue
        if parallel.any(perf_counter() > until):
            break
        try:
            with parallel.lockstep():
                result = make()
        except Exception as error:  # of the user's model, which may not take this change: then it is none of its remedies
            if parallel.world_size > 1 and isinstance(error, ConfigError | TrainingError):
                raise  # lockstep does not tell the others of these
            run.unwrapped_model.zero_grad()
            continue
        if result is not None:
            results[name] = result
    return results


def in_turn(
    probed: ProbedRun, before: Callable[[], object], after: Callable[[], object], settle: int = 0
) -> SpeedRatio:  # fmt: skip
    """Return how many times faster the second of two calls is. They take turns.

    Args:
        probed: the run.
        before: the way it is.
        after: the way it would be.
        settle: calls at the beginning of each turn that do not count; it is three times as long as they are.
    """
    parallel = probed.run.parts.parallel
    seconds = sum(mean_seconds(partial(_and_wait, probed, call), 0.0) for _ in range(2) for call in (before, after)) / 4

    def alike(seconds: float) -> float:
        """Return the most seconds of any rank, so that all decide alike."""
        parallel.confirm()
        return seconds if parallel.world_size == 1 else parallel.highest([round(1e9 * seconds)])[0] / 1e9

    seconds = alike(seconds)
    repeats = max(1, 2 * settle, min(20, int(SECONDS / (4 * ROUNDS * max(seconds, 1e-6)))))
    each = 4 * (settle + repeats) * seconds

    def window(call: Callable[[], object]) -> float:
        for _ in range(settle):
            call()
        probed.synchronise()
        started = perf_counter()
        for _ in range(repeats):
            call()
        probed.synchronise()
        return alike((perf_counter() - started) / repeats)

    least = max(FEWEST, min(ENOUGH, int(LONGEST / max(each, 1e-6))))
    limits = Limits(min_rounds=least, max_rounds=ROUNDS, width=0.03, seconds=SECONDS, step=1)
    return interleave(partial(window, before), partial(window, after), limits, lambda: alike(perf_counter()))


def peak_bytes(probed: ProbedRun, call: Callable[[], object]) -> int:
    """Return the most memory that tensors take in a call, above what there is before it."""
    with AllocationPeak(probed.run.device) as peak:
        call()
    probed.synchronise()
    return peak.bytes


def _and_wait(probed: ProbedRun, call: Callable[[], object]) -> None:
    call()
    probed.synchronise()


def _passes(probed: ProbedRun, model: nn.Module, context: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
    """Make forward and backward pass of the window's first batch, and drop the gradients; make an update of several objectives."""
    run = probed.run
    if isinstance(run.parts.update, CompositeUpdate):  # each loss has its own way to the gradients of its own parameters
        with context():
            probed.update()
        return
    batch = next(iter(probed.window.micros)).batch
    with context():
        loss, _ = run.parts.parallel.call(run.parts.objective, model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    model.zero_grad()


def _cast(probed: ProbedRun) -> Experiment:
    """Return the passes in bfloat16 by autocast."""
    model = _own_model(probed.run)
    cast = partial(torch.autocast, probed.run.device.type, torch.bfloat16)
    before, after = partial(_passes, probed, model), partial(_passes, probed, model, cast)
    return Experiment(in_turn(probed, before, after), peak_bytes(probed, after) - peak_bytes(probed, before))


def _channels_last(probed: ProbedRun) -> Experiment | None:
    """Return the passes with a copy of the model whose weights are in `torch.channels_last`."""
    model = _own_model(probed.run)
    if model is not probed.run.unwrapped_model:
        return None
    turned = deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Experiment(in_turn(probed, partial(_passes, probed, model), partial(_passes, probed, turned)), 0)


def _kept_memory(probed: ProbedRun) -> Experiment:
    """Return updates while freed memory is kept."""
    with holding() as hold:
        return Experiment(in_turn(probed, partial(hold, False, probed.update), partial(hold, True, probed.update), settle=REFILLED))


@contextmanager
def holding() -> Iterator[Callable[[bool, Callable[[], object]], None]]:
    """Give a function that makes a call with freed memory kept, or not, and switches only where that changes.

    Not kept it is given back as the run gives it back: by the thresholds that its own tensors have moved.
    """
    keeps, moved = False, moving_thresholds()

    def hold(keep: bool, call: Callable[[], object]) -> None:
        nonlocal keeps
        if keep != keeps:
            KEPT_MEMORY.keep() if keep else KEPT_MEMORY.release(moved)
            keeps = keep
        call()

    try:
        yield hold
    finally:
        if keeps:
            KEPT_MEMORY.release()


def _tf32(probed: ProbedRun) -> Experiment | None:
    """Return the passes with TensorFloat-32 in products and convolutions."""
    switches = Float32Switches.read()
    if switches.matmul != "highest":
        return None

    def passes(matmul: str) -> None:
        switches.change(matmul != "highest", matmul)
        _passes(probed, _own_model(probed.run))

    try:
        return Experiment(in_turn(probed, partial(passes, "highest"), partial(passes, "high")), 0)
    finally:
        switches.restore()


def _own_model(run: TrainingRun) -> nn.Module:
    """Return the model as one rank computes with it, without the others; where they share the weights, as it is."""
    return run.unwrapped_model if run.parts.parallel.world_size > 1 and run.parts.parallel.mesh is None else run.model


def fused_steps(probed: ProbedRun) -> Experiment:
    """Return the optimiser's steps as they are, and by its fused implementation, on copies of the weights."""
    optimizer: Any = probed.run.parts.optim.optimizer
    steps = []
    for fused in (False, True):
        groups = []
        for group in optimizer.param_groups:
            settings = {name: value for name, value in group.items() if name in optimizer.defaults}
            copies = [nn.Parameter(param.detach().clone()) for param in group["params"]]
            for copy in copies:
                copy.grad = torch.full_like(copy, 1e-3)
            groups.append({**settings, "params": copies} | ({"fused": True, "foreach": False} if fused else {}))
        steps.append(type(optimizer)(groups).step)
    return Experiment(in_turn(probed, *steps), 0)
