"""Build a run that is ready to start, in the order in which its pieces need one another."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace

import torch

from accel.checkpoints import FoundCheckpoint, NoSaver
from accel.checkpoints.batch_sizes import BatchSizes, fit_to_ranks
from accel.checkpoints.code import code_digests, code_folder, code_record, model_code
from accel.checkpoints.identity import identity
from accel.checkpoints.user_state import UserState
from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.base import BatchOptions
from accel.data.batches.counted import SampleCounter
from accel.device.cuda.run_device import choose_device, device_restored, make_current
from accel.device.rng import Randomness
from accel.engine.checks.rank_values import warn_of_unequal_values
from accel.engine.checks.single_samples import watch_batch_norms
from accel.engine.compile_time import booked_compiling
from accel.engine.evaluation.evaluations import Evaluations
from accel.engine.length.run_length import RunLength
from accel.engine.make_plan import make_plan
from accel.engine.objectives.composite_update import CompositeUpdate
from accel.engine.objectives.join_objectives import join_objectives
from accel.engine.open_data import open_data
from accel.engine.preflight import check_model, check_needs, check_torch_mode, warn_of_lonely_ranks, without_ranks
from accel.engine.request import RunRequest
from accel.engine.resume import locate
from accel.engine.run_directory import RunLock
from accel.engine.select_parts import PART_TYPES, select_parts
from accel.engine.start import directory_of, start
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Activations, Compile, Layout, Parallel, Part, Parts, Watch
from accel.parts.shared.ranks.rank_identity import compare_content, settings_of_all_ranks
from accel.parts.shared.ranks.rank_meeting import announcing
from accel.system.call_stack import warn_user
from accel.system.disk_errors import disk_reason
from accel.system.pipes import open_missing
from accel.system.stop_signals import StopSignals

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "PARALLEL",
    "build",
    "close_at_end",
    "close_calmly",
    "keep_update_size",
    "make_run",
    "set_up",
    "set_up_parts",
]

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
    request = join_objectives(run, request, plugins, cleanup)
    settings, checkpoint = locate(request.settings, parts.parallel)
    keep_update_size(run, checkpoint)
    skipped = set_up_parts(run, request, plugins)
    cleanup.enter_context(booked_compiling(run.clock))
    for watch in watches:
        watch.setup(run)

    run.user_state = UserState(run.unwrapped_model, request.state_holders(), request.task_settings)
    warn_of_unequal_values(parts.parallel, run.user_state)
    run.plan = make_plan(run, plugins, skipped, request.bundled)
    run.plan.facts |= run.length.plan_notes()
    for warning in run.plan.warnings:
        warn_user(warning)
    run.random.fork_for_rank(settings.seed, parts.parallel.rank)
    run_identity = identity(run, plugins, request.task_identity(), run.data_identity)
    run_identity["batch_size"] = settings.batch_size or DEFAULT_BATCH_SIZE  # as it was set, whatever the ranks made of it
    run.code |= code_digests(
        {"plugins": [code for plugin in plugins if plugin.identity() is not None for code in plugin.given_code()]}
    )
    kept = directory_of(settings, checkpoint) is not None and parts.parallel.rank == 0
    run_identity |= code_record(run.code, code_folder(request.code.get("loss", [])) if kept else None)
    if run.parts.schedule.follows_evaluations:
        run_identity["evaluate"] = run.evaluations.identity
    if isinstance(run.parts.update, CompositeUpdate):
        run_identity["objectives"] = run.parts.update.objectives_identity()
    if settings.drop_last:  # not kept else: checkpoints of before there was one go on
        run_identity["drop_last"] = True
    start(run, settings, checkpoint, run_identity, request.records, lock)
    watch_batch_norms(run)
    cleanup.callback(setattr, run, "saver", NoSaver())  # as with the watches
    cleanup.callback(run.saver.close)  # runs first of all: the saver writes tensors that the others hold
    return run


def close_at_end(cleanup: ExitStack, lock: RunLock, parts: Parts, watches: list[Watch]) -> None:
    """Register what must be closed at the end of the run. The last one registered is closed first."""
    cleanup.callback(watches.clear)  # most keep the run, which keeps them: what it holds is freed as soon as it ends
    cleanup.callback(lock.release)
    for owner, close in (
        ("backend", parts.backend.restore),
        ("parallel", parts.parallel.close),  # after everything that may still travel between the ranks
        ("loader", parts.loader.close),
        ("prefetch", parts.prefetch.close),  # before the loader that it reads from
        ("transfer", parts.transfer.close),
        ("compile", parts.compile.close),
        ("activations", parts.activations.close),
        ("update", parts.update.close),
        ("precision", parts.precision.release),
        *((watch.name, watch.close) for watch in watches),
    ):
        cleanup.callback(close_calmly, owner, close)


def close_calmly(owner: str, close: Callable[[], object]) -> None:
    """Close a part. What the disk refuses then is a warning: it must not take the result of a run that is done."""
    try:
        close()
    except OSError as error:
        if isinstance(error, BrokenPipeError | ConnectionError | TimeoutError):  # no disk has a part in it
            raise
        place = f" of {error.filename}" if error.filename else ""
        warn_user(f"what {owner} writes could not be closed: {disk_reason(error)}{place}; look after its disk")


def make_run(
    request: RunRequest, parts: Parts, watches: list[Watch], device: torch.device, signals: StopSignals
) -> TrainingRun:  # fmt: skip
    """Make the model and the record of facts that all parts share."""
    settings = request.settings
    run = TrainingRun(
        parts,
        without_ranks(check_model(request.model()), parts.parallel.world_size).to(device),
        request.task_method(request.loss),
        device,
        settings.seed,
        1,  # until the data is open
        settings.batch_size or DEFAULT_BATCH_SIZE,
        watches=watches,
        evaluation_split=request.evaluation_split if isinstance(request.evaluation_split, str) else "",
        evaluated=request.task_method(request.evaluated),
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


def keep_update_size(run: TrainingRun, checkpoint: FoundCheckpoint | None) -> None:
    """Adapt micro-batches to another number of ranks, so that a resumed run's updates keep their samples."""
    if checkpoint is None:
        return
    before = BatchSizes(**checkpoint.manifest.sizes)
    configured = BatchSizes(1 if before.ready else run.batch_size, run.parts.group.size, run.parts.parallel.world_size)
    fitted = fit_to_ranks(before, configured)
    if fitted != configured:
        run.batch_size = run.batch_size if before.ready else fitted.batch_size
        run.parts.group.resize(fitted.micro)


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
