"""The doctor: a run is built, measured on its own data, undone, and told what makes it slow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import current_process
from time import perf_counter
from typing import TYPE_CHECKING

import torch
from torch import nn

from accel.device.rng import Randomness
from accel.diagnose.changes.possible_changes import possible_changes
from accel.diagnose.changes.unmeasured import gpu_sentences, unmeasured_sentences
from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.remedies import rank_remedies
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.decision.time_split import split_time
from accel.diagnose.decision.verdict_details import decide
from accel.diagnose.diagnosis import Diagnosis
from accel.diagnose.machine.known_states import MachineUse, known_states
from accel.diagnose.machine.this_machine import Machine, read_machine
from accel.diagnose.probes.measure import Measurer
from accel.diagnose.trials.applied_in_order import apply_remedies
from accel.diagnose.trials.trainer_variant import trainer_variant
from accel.engine.build import build
from accel.engine.checks.preflight import check_trainer, require_timed_device
from accel.engine.evaluation.evaluation_trial import try_evaluation
from accel.engine.evaluation.model_backup import ModelBackup
from accel.engine.request import RunRequest
from accel.engine.sandbox import sandbox
from accel.engine.select_parts import as_list, make_plugin, plugin_parts, select_parts
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Watch
from accel.report.other_load import OtherLoad
from accel.system.call_stack import warnings_of_run
from accel.system.calls.call_arguments import with_checked_arguments
from accel.system.cpu.local_ranks import local_ranks
from accel.system.cpu.processor import read_processor
from accel.system.stop_signals import StopSignals
from accel.values import Positive, check_value

if TYPE_CHECKING:
    from accel.trainer import Trainer

__all__ = ["SECONDS", "diagnose", "doctor", "for_measuring", "given_model", "machine_use", "measured_run", "untouched"]

SECONDS = 40.0
"""Seconds of measuring, about; building the run comes on top."""


@with_checked_arguments
def doctor(
    trainer: Trainer, *, seconds: float = SECONDS, apply: bool = False, say: Callable[[str], None] = lambda line: None
) -> Diagnosis:  # fmt: skip
    """Return why a run is as fast as it is, and what would make it faster. Nothing is trained, and nothing written.

    The run is built as `fit` builds it, without its watches, and measured by updates that are undone: weights, optimiser, random
    numbers and the task's own state are afterwards what they were, to the last bit. With several ranks each of them calls it.

    Args:
        trainer: what would be trained.
        seconds: of measuring, about; with less than 10 some probes are left out.
        apply: also try the remedies, which takes minutes: `applied` of the diagnosis has what came of each. What switches
            something of the whole process is tried in processes of its own, to which the trainer must be picklable.
        say: is told what is measured, before it is.

    Raises:
        ConfigError: if the run cannot work.
        Interrupted: if SIGTERM or SIGINT came.
    """
    check_value("seconds", seconds, Positive)
    if getattr(current_process(), "_inheriting", False):  # of a script that has no such line, and begins anew in each process
        raise ConfigError("doctor runs while another process starts; write it below if __name__ == '__main__':")
    started = perf_counter()
    with measured_run(trainer) as (run, request):
        diagnosis = diagnose(run, request, seconds, say)
    diagnosis.seconds = perf_counter() - started
    if apply:
        with untouched(given_model(trainer)):
            make = partial(_make_variant, trainer)
            diagnosis.applied = apply_remedies(diagnosis.remedies, make, say)
    return diagnosis


def _make_variant(trainer: Trainer, overrides: Overrides) -> Callable[[], Trainer]:
    return partial(trainer_variant, trainer, overrides)


def given_model(trainer: Trainer) -> nn.Module | None:
    """Return the module that a trainer was given; None where a task makes one."""
    given = trainer.given.get("model")
    return given if isinstance(given, nn.Module) else None


@contextmanager
def measured_run(trainer: Trainer) -> Iterator[tuple[TrainingRun, RunRequest]]:
    """Give the run of a trainer, ready for its first update; undo everything at the end, that it was built too."""
    check_trainer(trainer, "doctor")
    require_timed_device("doctor", trainer.settings.device)
    asked = trainer._request()
    request = for_measuring(asked)
    with ExitStack() as cleanup:
        cleanup.enter_context(untouched(given_model(trainer)))
        signals = cleanup.enter_context(StopSignals(at_once=True))
        cleanup.enter_context(warnings_of_run())
        run = build(request, cleanup, signals)
        with run.parts.parallel.share_errors(lambda: signals.requested is not None):
            if run.user_state is not None:
                run.user_state.remember()
                cleanup.callback(run.user_state.undo)
            try_evaluation(run, None)
            run.parts.backend.explore(run, lambda: sandbox(run))
            yield run, asked


def diagnose(run: TrainingRun, request: RunRequest, seconds: float, say: Callable[[str], None]) -> Diagnosis:
    """Return the diagnosis of a run that is set up. Every rank must call it.

    Args:
        run: the run.
        request: what the user asked for, directories included.
        seconds: of measuring.
        say: is told what is measured.
    """
    saves = request.settings.out is not None or bool(request.command)
    load = OtherLoad()
    _, watches = select_parts(request.plugins, request.watches)
    measured = Measurer(run, request.settings, watches, saves, read_processor().usable, seconds, say).measure()
    say("the machine")
    machine = replace(read_machine(getattr(run.train, "data", None), measured.cards), busy=load.percent())
    figures = measured.figures
    split = split_time(figures)
    remedies = rank_remedies(figures, split, possible_changes(run, figures))
    states = known_states(machine, machine_use(run, figures, machine))
    return Diagnosis(
        machine, states, figures, split, decide(figures, split), remedies, measured.left_out, command=request.command,
        unmeasured=[*unmeasured_sentences(run), *gpu_sentences(run.device.type)],
    )  # fmt: skip


def for_measuring(request: RunRequest) -> RunRequest:
    """Return the request without what writes: run directory, checkpoint to go on from, watches."""
    settings = replace(
        request.settings, out=None, resume=None, allow=[], dry_run=False, checkpoint_best=None, checkpoint_every=None
    )
    plugins = [make_plugin(plugin) for plugin in as_list("plugins", request.plugins)]
    return replace(request, settings=settings, plugins=[one for one in plugins if not isinstance(one, Watch)], watches=())


def machine_use(run: TrainingRun, figures: RunFigures, machine: Machine) -> MachineUse:
    """Return how a run uses its machine."""
    loader, reader = run.parts.loader, getattr(getattr(run.train, "data", None), "reader", None)
    on = [part.name for part in plugin_parts(run.parts)]
    disk, wanted = machine.disk, None
    if disk is not None and disk.files > 1 and figures.same_batch.median:
        wanted = figures.samples / figures.same_batch.median * disk.sampled / disk.files
    return MachineUse(
        device=run.device.type,
        ranks=local_ranks(),
        threads=figures.threads,
        worker_processes=getattr(loader, "reader_count", 0) if loader.name == "workers" else 0,
        reads_pictures=getattr(reader, "decoder", "") == "pillow",
        needs_compiler="compile" in on,
        needed_bytes=wanted,
        command=bool(run.command),
        plugins=frozenset(on),
    )


@contextmanager
def untouched(model: nn.Module | None) -> Iterator[None]:
    """Put back what building a run moves in this process: random numbers, and a model that the user holds, with its gradients.

    Args:
        model: the user's own module; None where a task makes one.
    """
    device = torch.device("cuda" if torch.cuda.is_initialized() else "cpu")  # type: ignore[no-untyped-call]
    with Randomness(device).preserved():
        if model is None:
            yield
            return
        backup = ModelBackup(model)
        grads = {param: param.grad for param in model.parameters()}
        modes = {module: module.training for module in model.modules()}
        try:
            yield
        finally:
            backup.restore()
            for param, grad in grads.items():
                param.grad = grad
            for module, mode in modes.items():
                module.training = mode
