"""Advice on a model itself: its layers are looked at, timed, and held against the roofs of this machine. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from accel.data.batches.containers import tensors_in
from accel.diagnose.advice import Advice
from accel.diagnose.ceilings.kept_ceilings import kept_ceilings
from accel.diagnose.doctor import measured_run
from accel.diagnose.findings.all_rules import all_findings
from accel.diagnose.layer_trials.memory_order_trial import can_switch, saved_share
from accel.diagnose.layer_trials.tried_findings import tried_findings
from accel.diagnose.layers.array_copies import ArrayCopies, ArrayCopy
from accel.diagnose.layers.layer_table import LayerTable, ParameterFacts
from accel.diagnose.layers.model_pass import ModelPass, own_batch, pass_of, unmoved
from accel.diagnose.layers.operation import Operation
from accel.diagnose.layers.trace import trace
from accel.engine.checks.preflight import require_one_process, require_timed_device
from accel.engine.sandbox import sandbox
from accel.engine.select_parts import plugin_parts
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.report.other_load import BUSY, OtherLoad
from accel.system.calls.call_arguments import with_checked_arguments
from accel.values import Positive, check_value

if TYPE_CHECKING:
    from accel.trainer import Trainer

__all__ = ["SECONDS", "advise", "advise_run", "batch_text"]

SECONDS = 8.0
"""Seconds of timing passes, about; the ceilings of a machine that is new take two on top."""
TRIALS = 0.15
"""Share of these seconds that the trials of one finding may take on top, about."""


@with_checked_arguments
def advise(
    model: nn.Module,
    batch: Any,
    loss: Callable[[nn.Module, Any], Any] | None = None,
    *,
    seconds: float = SECONDS,
    say: Callable[[str], None] = lambda line: None,
) -> Advice:
    """Return what a model computes and moves, how fast on this machine, and what would make it faster. Nothing is trained.

    It is looked at in the mode in which it is: in training mode forward and backward, in `eval` forward alone. Weights, buffers,
    gradients, modes, hooks, the batch and random numbers are afterwards what they were, to the last bit.

    Args:
        model: the model, on the device that it is to be looked at on. A compiled one is looked at as it is written.
        batch: a batch on that device. Without a loss: what the model's forward takes, a tensor, a tuple of arguments, or a dict of
            named ones.
        loss: `loss(model, batch)`; None for the outputs of the model, with gradients of one.
        seconds: of timing, about.
        say: is told what is measured, before it is.

    Raises:
        ConfigError: if the model does not take the batch, has parameters without a shape, or several processes were started.
    """
    check_value("seconds", seconds, Positive)
    require_one_process("advise")  # ranks would time themselves against each other, and write one file of ceilings
    model = getattr(model, "_orig_mod", model)  # of a compiled model, whose kernels nobody sees into
    with torch.inference_mode(False):
        subject = pass_of(model, batch := own_batch(batch), loss)
        with unmoved(model, loss):
            return _advise(subject, batch, seconds, say, Subject())


def advise_run(
    trainer: Trainer, *, inference: bool = False, seconds: float = SECONDS, say: Callable[[str], None] = lambda line: None
) -> Advice:
    """Return advice on the model of a run, with a batch of its data, in its number format and memory order. Nothing is written.

    Args:
        trainer: what would be trained. It computes as the run would, but for compile: layers are those of the model as written.
        inference: whether it is looked at in evaluation mode, forward alone.
        seconds: of timing, about.
        say: is told what is measured.

    Raises:
        ConfigError: if the run cannot work, or several processes were started.
    """
    require_one_process("advise")
    started = perf_counter()
    copies = ArrayCopies()
    with measured_run(trainer) as (run, request), sandbox(run) as windows:
        say("a batch of the data")
        with copies:
            batch = own_batch(next(iter(next(windows).micros)).batch)
        run.unwrapped_model.zero_grad()
        run.signals.immediate = True  # reading data has set it back; there is nothing here that a stop could spoil
        names = frozenset(part.name for part in plugin_parts(run.parts))
        about = Subject(names, request.command, copies.lines)
        advice = _advise(_pass_of_run(run, batch, inference), batch, seconds, say, about)
    return replace(advice, seconds=perf_counter() - started)


def _pass_of_run(run: TrainingRun, batch: Any, inference: bool) -> ModelPass:
    """Return the pass of a run: in its precision, with its loss."""
    parts, model = run.parts, run.unwrapped_model

    def evaluate() -> Any:
        with parts.precision.cast():
            return run.loss(model, batch)

    def forward() -> Tensor:
        with parts.precision.cast():
            loss, _ = parts.objective(model, batch)
        return loss

    def backward(loss: Tensor) -> None:
        parts.precision.backward(loss, torch.ones_like(loss))

    if inference:
        model.eval()
        return ModelPass(model, evaluate, None, run.device)
    return ModelPass(model, forward, backward, run.device)


@dataclass(frozen=True)
class Subject:
    """What is known of a model beside its pass.

    Args:
        plugins: names of those that are on.
        command: the command of the run; empty in Python.
        data_copies: what `torch.tensor` copies while data is read, by line of code.
    """

    plugins: frozenset[str] = frozenset()
    command: str = ""
    data_copies: Mapping[str, ArrayCopy] = field(default_factory=dict)


def _advise(subject: ModelPass, batch: Any, seconds: float, say: Callable[[str], None], about: Subject) -> Advice:
    """Return the advice on a pass, whose model the caller puts back."""
    require_timed_device("advise", subject.device.type)
    started, model, load = perf_counter(), subject.model, OtherLoad()
    traced = trace(subject, seconds, say)
    busy = load.percent()
    say("the ceilings of this machine")
    ceilings, source = kept_ceilings(subject.device, _dtypes(traced.operations))
    trains = subject.backward is not None
    parameters = tuple(
        ParameterFacts(
            name, param.numel(), param.nbytes, param.requires_grad,
            name not in traced.without_gradient if trains and param.requires_grad else None,
        )
        for name, param in model.named_parameters()
    )  # fmt: skip
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    table = LayerTable(
        tuple(traced.operations), kinds, parameters, ceilings, min(traced.seconds), trains, subject.device.type, about.plugins,
        {**about.data_copies, **traced.array_copies}, bool(about.command),
        busy is not None and busy >= BUSY and torch.get_num_threads() > 1,
    )  # fmt: skip
    if not table.layers:
        raise ConfigError("no operator ran in the model's forward; does the loss call the model that it is given?")
    say("what changes would bring")
    if can_switch(table):
        table = replace(table, order_saving=saved_share(subject, TRIALS * seconds))
    findings = tried_findings(all_findings(table), table, TRIALS * seconds)
    spread = (min(traced.seconds), max(traced.seconds))
    elements = sum(one.numel for one in parameters)
    return Advice(
        type(model).__name__, table, tuple(findings), elements, batch_text(batch), len(traced.seconds), spread, source,
        perf_counter() - started, about.command, busy,
    )  # fmt: skip


def _dtypes(operations: list[Operation]) -> list[str]:
    """Return the number formats whose products need a ceiling, float32 among them."""
    return sorted({"float32", *(one.dtype for one in operations if one.flops and one.dtype.startswith(("float", "bfloat")))})


def batch_text(batch: Any) -> str:
    """Return the tensors of a batch in words.

    >>> batch_text((torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)))
    'float32 2x3, int64 2'
    """
    tensors = tensors_in(batch)
    texts = [f"{str(one.dtype).removeprefix('torch.')} {'x'.join(map(str, one.shape)) or 'number'}" for one in tensors]
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")
