"""Build a run that is ready to start, in the order in which its pieces need one another."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import proxy

import torch

from accel.checkpoints import FoundCheckpoint, NoSaver
from accel.checkpoints.code import code_digests, code_folder, code_record, model_code
from accel.checkpoints.code.provenance import provenance
from accel.checkpoints.identity import identity
from accel.checkpoints.user_state import UserState
from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.base import BatchOptions
from accel.data.batches.counted import SampleCounter
from accel.device.accelerators.float64 import moved
from accel.device.cuda.run_device import choose_device, device_restored, make_current
from accel.device.rng import Randomness
from accel.device.run_facts.host_facts import host_facts
from accel.engine.checks.own_backward import watch_own_backward
from accel.engine.checks.preflight import check_model, check_needs, check_torch_mode, warn_of_lonely_ranks, without_ranks
from accel.engine.checks.rank_values import warn_of_unequal_values
from accel.engine.checks.single_samples import watch_batch_norms
from accel.engine.closing import close_at_end
from accel.engine.compile_time import booked_compiling
from accel.engine.evaluation.evaluations import Evaluations
from accel.engine.evaluation.restore_best import outline_of
from accel.engine.fine_tuning.freezing import Freezing
from accel.engine.fine_tuning.initial_weights import begin_with_weights
from accel.engine.length.run_length import RunLength
from accel.engine.loading.other_run import load_other
from accel.engine.make_plan import make_plan
from accel.engine.objectives.composite_update import CompositeUpdate
from accel.engine.objectives.join_objectives import join_objectives
from accel.engine.open_data import open_data
from accel.engine.request import RunRequest
from accel.engine.resume import keep_update_size, locate
from accel.engine.run_directory import RunLock
from accel.engine.select_parts import PART_TYPES, select_parts
from accel.engine.shaping.shape_model import rebuild_model, shape_model
from accel.engine.start import directory_of, start
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Activations, Compile, Layout, Parallel, Part, Parts, Watch
from accel.parts.shared.ranks.rank_identity import compare_content, settings_of_all_ranks
from accel.parts.shared.ranks.rank_meeting import announcing
from accel.schema.freeze_rules import read_freeze
from accel.schema.settings import Settings
from accel.system.call_stack import warn_user
from accel.system.pipes import open_missing
from accel.system.stop_signals import StopSignals

__all__ = ["DEFAULT_BATCH_SIZE", "PARALLEL", "build", "make_run", "set_up", "set_up_parts"]

DEFAULT_BATCH_SIZE = 32
PARALLEL = ("ddp", "fsdp")
"""Names of plugins that make several processes train together."""


def build(request: RunRequest, cleanup: ExitStack, signals: StopSignals) -> TrainingRun:
    """Make everything that the loop needs. No file is written before all of it stands.

    Args:
        request: task, plugins and settings.
        cleanup: receives the functions that close what is opened here; they run when the run ends, however it ends.
        signals: signals that may ask the run to stop.

    Raises:
        ConfigError: if anything cannot work.
    """
    open_missing()  # before any file of the run is opened
    with _announcing(request):
        parts, watches = select_parts(request.plugins, request.watches)
        plugins = [part for part in [*parts.all(), *watches] if type(part) not in PART_TYPES.values()]
        device = choose_device(request.settings.device)
        cleanup.enter_context(device_restored(device))  # left last of all
        check_torch_mode(device.type)
        check_needs(plugins, device.type)
        warn_of_lonely_ranks(parts.parallel)
        lock = RunLock()
        close_at_end(cleanup, lock, parts, watches)
        device = make_current(parts.parallel.join(device))
    with parts.parallel.share_errors(lambda: signals.requested is not None):
        run = _build_joined(request, cleanup, signals, parts, watches, plugins, device, lock)
        parts.parallel.gather(None)  # none begins where another has failed
    return run


def _announcing(request: RunRequest) -> AbstractContextManager[None]:
    """Return a context that tells an error to the ranks which wait for this one, if any may."""
    waited_for = any(isinstance(plugin, Parallel) or plugin in PARALLEL for plugin in request.plugins)
    return announcing() if waited_for else nullcontext()


def _build_joined(
    request: RunRequest, cleanup: ExitStack, signals: StopSignals, parts: Parts, watches: list[Watch], plugins: list[Part],
    device: torch.device, lock: RunLock,
) -> TrainingRun:  # fmt: skip
    """Make everything that comes after the ranks have met."""
    settings = settings_of_all_ranks(request.settings, parts.parallel, plugins, device)
    request = replace(request, settings=settings)
    parts.backend.apply(device)
    Randomness(device).seed(request.settings.seed)
    run = make_run(request, parts, watches, device, signals)
    settings, checkpoint = locate(request.settings, parts.parallel)
    notes = begin_with_weights(run, request, resumed=checkpoint is not None)
    outline = None
    if checkpoint is not None:
        outline = outline_of(run.unwrapped_model) if settings.checkpoint_best else None
        rebuild_model(run, checkpoint.manifest.structure, f"resume={settings.resume}")
    request = shape_model(run, request, plugins)
    request = join_objectives(run, request, plugins, cleanup)
    freezing = run.freezing = Freezing(read_freeze(settings.freeze if request.trains else None))
    cleanup.callback(freezing.release, run.unwrapped_model)
    freezing.begin(run.unwrapped_model)
    keep_update_size(run, checkpoint)
    prepare_objective(run, request, directory_of(settings, checkpoint))
    skipped = set_up_parts(run, request, plugins)
    notes |= freezing.schedule(run)
    cleanup.enter_context(booked_compiling(run.clock))
    for watch in watches:
        watch.setup(run)
    run.user_state = UserState(run.unwrapped_model, request.state_holders(), request.task_settings)
    warn_of_unequal_values(parts.parallel, run.user_state)
    run.plan = make_plan(run, plugins, skipped, request.bundled)
    run.plan.facts |= run.length.plan_notes() | notes
    run.plan.settings, run.plan.machine, run.plan.task = settings.plain(), host_facts(device), request.task_facts()
    for warning in run.plan.warnings:
        warn_user(warning)
    run.random.fork_for_rank(settings.seed, parts.parallel.rank)
    start(run, settings, checkpoint, _identity(run, request, settings, plugins, checkpoint), request.records, lock, outline)
    if checkpoint is not None:
        freezing.go_on(run, checkpoint.manifest.identity)
    watch_batch_norms(run)
    if request.trains:
        watch_own_backward(run)
    cleanup.callback(setattr, run, "saver", NoSaver())  # as with the watches
    cleanup.callback(run.saver.close)  # runs first of all: the saver writes tensors that the others hold
    return run


def _identity(
    run: TrainingRun, request: RunRequest, settings: Settings, plugins: list[Part], checkpoint: FoundCheckpoint | None
) -> dict[str, Any]:
    """Return what a resumed run must have in common with this one. What came later is not kept at its default: old runs go on."""
    known = identity(run, plugins, request.task_identity(), run.data_identity)
    known["batch_size"] = settings.batch_size or DEFAULT_BATCH_SIZE  # as it was set, whatever the ranks made of it
    given = [code for plugin in plugins if plugin.identity() is not None for code in plugin.given_code()]
    run.code |= code_digests({"plugins": given})
    kept = directory_of(settings, checkpoint) is not None and run.parts.parallel.rank == 0
    folder = code_folder(request.code.get("loss", [])) if kept else None
    known |= code_record(run.code, folder)
    run.plan.provenance = provenance(run.command, folder, run.device)
    if run.parts.schedule.follows_evaluations:
        known["evaluate"] = run.evaluations.identity
    if isinstance(run.parts.update, CompositeUpdate):
        known["objectives"] = run.parts.update.objectives_identity()
    if settings.drop_last:
        known["drop_last"] = True
    if run.freezing.rules:
        known["freeze"] = run.freezing.identity
    return known


def make_run(
    request: RunRequest, parts: Parts, watches: list[Watch], device: torch.device, signals: StopSignals
) -> TrainingRun:  # fmt: skip
    """Make the model and the record of facts that all parts share."""
    settings = request.settings
    run = TrainingRun(
        parts,
        moved(without_ranks(check_model(request.model(), request.trains), parts.parallel.world_size), device, "the model"),
        request.task_method(request.loss),
        device,
        settings.seed,
        1,  # until the data is open
        settings.batch_size or DEFAULT_BATCH_SIZE,
        watches=watches,
        evaluation_split=request.evaluation_split if isinstance(request.evaluation_split, str) else "",
        evaluated=request.task_method(request.evaluated),
        task=proxy(request.task) if request.task is not None else None,
        command=request.command,
        signals=signals,
        bad_samples=BadSampleRule(settings.bad_data, settings.bad_limit, hint=", or leave it out: bad_data=skip"),
        has_run_directory=settings.dry_run or settings.out is not None or settings.resume is not None,
        dry_run=settings.dry_run,
        counter=SampleCounter(request.task_method(request.count_samples)),
        batch_options=BatchOptions(request.task_method(request.collate), settings.drop_last, settings.batch_size is not None),
    )
    run.length = RunLength(settings)
    run.evaluations = Evaluations(settings, request.metrics, run.length)
    code = {name: objects for name, objects in request.code.items() if name != "data"}  # that follows when the data is open
    code["model"] = model_code(run.unwrapped_model, code.get("model", []))
    run.code = code_digests(code)
    if parts.parallel.world_size > 1:  # nobody else compares them
        run.rank_code = code_digests({**code, "collate": [request.collate]}, of_ranks=True)
    run.unwrapped_model.zero_grad()  # gradients of a backward pass that the user made before
    return run


def prepare_objective(run: TrainingRun, request: RunRequest, own: Path | None) -> None:
    """Let the objective make what it needs beside the model, in a run that trains. `own` is the run directory; None for none."""
    if request.trains:
        run.load_model = partial(load_other, request.task, run.unwrapped_model, own)
        run.parts.objective.prepare(run)
        run.load_model = None  # it keeps the task alive


def set_up_parts(run: TrainingRun, request: RunRequest, plugins: list[Part]) -> dict[str, str]:
    """Set up every part, in order; open the data as soon as sources and loaders stand.

    Returns:
        The plugins left out, each with the reason. A plugin that only a bundle asked for and that cannot work is replaced by
        the plainest part, and leaves `plugins`.
    """
    parts, skipped = run.parts, dict(request.skipped)
    for name, part in vars(parts).items():
        if part is parts.group:  # every part from here on may ask how much data there is
            open_data(run, request)
        if part is parts.parallel:  # it may fail, or wait forever, where ranks differ
            compare_content(run, request.task_identity(), run.rank_code)
        try:
            set_up(run, part)
        except ConfigError as error:
            if part.name not in request.bundled:
                raise
            skipped[part.name] = str(error).partition("; ")[0]
            plugins.remove(part)
            setattr(parts, name, PART_TYPES[name]())
            set_up(run, getattr(parts, name))
    return skipped


def set_up(run: TrainingRun, part: Part) -> None:
    """Set up one part, and let it wrap the model if that is its work."""
    part.setup(run)
    if isinstance(part, Layout | Compile | Activations | Parallel):
        run.model = part.model(run.model)
