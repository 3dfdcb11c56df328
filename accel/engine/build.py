"""From what the user gave to a run that is ready to start: the order in which things are made."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from accel.checkpoints import FOLDER, FoundCheckpoint, Saver
from accel.checkpoints.batch_sizes import BatchSizes, fit_to_ranks
from accel.checkpoints.finite_check import FiniteCheck
from accel.checkpoints.identity import content, identity
from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.structure import count_classes
from accel.device.rng import Randomness
from accel.engine import run_directory
from accel.engine.make_plan import make_plan
from accel.engine.preflight import check_model, check_needs, check_torch_mode
from accel.engine.resume import locate, resume
from accel.engine.select_parts import PART_TYPES, select_parts
from accel.engine.training_run import TrainingRun
from accel.errors import AccelWarning, ConfigError
from accel.parts import Activations, Compile, Layout, Parallel, Part
from accel.schema.settings import Settings
from accel.system.machine import resolve_device
from accel.system.stop_signals import StopSignals

if TYPE_CHECKING:
    from accel.trainer import Trainer


def build(trainer: Trainer, cleanup: ExitStack, signals: StopSignals) -> TrainingRun:
    """Makes everything, in the order of the sentence; writes nothing before all of it stands.

    Args:
        trainer: what the user gave.
        cleanup: is told what is to be closed when the run ends, however it ends.
        signals: what may ask the run to stop.

    Raises:
        ConfigError: for anything that cannot work, before a file is written.
    """
    settings = trainer.settings
    parts, watches = select_parts(trainer.plugins, trainer.watch)
    device = torch.device(resolve_device("auto") if settings.device == "auto" else settings.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={settings.device}: torch finds no CUDA device here; use device=cpu or device=auto")
    check_torch_mode(device.type)
    plugins = [part for part in [*parts.all(), *watches] if type(part) not in PART_TYPES.values()]
    check_needs(plugins, device.type)

    claim = run_directory.RunLock()
    cleanup.callback(claim.release)  # last of all
    cleanup.callback(parts.backend.restore)
    cleanup.callback(parts.parallel.close)  # after everything that may still travel between the ranks
    cleanup.callback(parts.loader.close)
    cleanup.callback(parts.prefetch.close)  # before the loader that it reads from
    cleanup.callback(parts.transfer.close)
    cleanup.callback(parts.compile.close)
    cleanup.callback(parts.activations.close)
    cleanup.callback(parts.update.close)
    cleanup.callback(parts.precision.release)
    for watch in watches:
        cleanup.callback(watch.close)
    device = parts.parallel.join(device)
    parts.backend.apply(device)
    Randomness(device).seed(settings.seed)
    run = TrainingRun(
        parts, check_model(trainer.model()).to(device), trainer.loss, device, settings.seed, settings.epochs,
        settings.batch_size or 32,
        watches=watches, evaluation_split=trainer.evaluates, command=trainer.command, signals=signals,
        bad_samples=BadSampleRule(settings.bad_data, settings.bad_limit, hint=", or leave it out: bad_data=skip"),
        has_run_directory=settings.dry_run or settings.out is not None or settings.resume is not None,
        dry_run=settings.dry_run,
    )  # fmt: skip
    run.unwrapped_model.zero_grad()  # whatever was left by a backward pass before
    settings, begun = locate(settings, parts.parallel)
    resize(run, begun)
    skipped = dict(trainer.skipped)
    for name, part in vars(parts).items():
        if part is parts.group:  # the sources and loaders before it are ready, and everything after it may ask how much there is
            open_data(run, trainer)
        try:
            set_up(run, part)
        except ConfigError as error:
            if part.name not in trainer.bundled:
                raise
            skipped[part.name] = str(error).partition("; ")[0]
            plugins.remove(part)
            setattr(parts, name, PART_TYPES[name]())
            set_up(run, getattr(parts, name))
    for watch in watches:
        watch.setup(run)

    run.plan = make_plan(run, plugins, skipped, trainer.bundled, run.train)
    for warning in run.plan.warnings:
        warnings.warn(warning, AccelWarning, stacklevel=3)
    run.random.fork_for_rank(settings.seed, parts.parallel.rank)
    ours = identity(run, plugins, trainer.identity(), run.contents)
    start(run, settings, begun, {**ours, "batch_size": settings.batch_size or 32}, trainer.config, claim)
    cleanup.callback(run.saver.close)  # first of all: it writes what the others hold
    return run


def set_up(run: TrainingRun, part: Part) -> None:
    """Sets a part up, and lets it wrap the model, where that is what it does."""
    part.setup(run)
    if isinstance(part, Layout | Compile | Activations | Parallel):
        run.model = part.model(run.model)


def open_data(run: TrainingRun, trainer: Trainer) -> None:
    """Opens the training and the held-out data, and counts batches and updates."""
    source, loader = run.parts.source, run.parts.loader
    data, held_out = trainer.data("train"), trainer.data(trainer.evaluates)
    run.random.register_loaders(data, held_out)
    opened = source.open(data, "train")
    run.num_classes = count_classes(trainer) or count_classes(opened)
    run.train = loader.open(opened, train=True)
    run.held_out = None if held_out is None else loader.open(source.open(held_out, trainer.evaluates), train=False)
    run.contents = {"train": content(opened, run.train.samples)}
    for batches, name in ((run.train, "training"), (run.held_out, trainer.evaluates)):
        if batches is not None and batches.count == 0:
            raise ConfigError(f"the {name} data is empty")
    ranks, samples = run.parts.parallel.world_size, run.train.samples
    if samples is not None and samples < ranks:
        raise ConfigError(f"{run.parts.parallel.name}: {ranks} ranks, and the training data has {samples:,} samples; start fewer")
    if trainer.settings.batch_size is not None and not run.train.uses_batch_size:
        warnings.warn("batch_size has no effect: the data comes in ready batches", AccelWarning, stacklevel=4)
    run.orderable_samples = run.train.samples if run.train.orderable else None
    if trainer.settings.bad_data != "raise" and (run.train.bad_sample_log is None or getattr(run.train, "in_memory", False)):
        why = "the data is in memory, or comes in ready batches or as a stream, and not sample by sample"
        warnings.warn(f"bad_data has no effect: {why}", AccelWarning, stacklevel=4)
    run.batches, run.uses_batch_size = run.train.count, run.train.uses_batch_size
    run.updates = None if run.batches is None else run.epochs * -(-run.batches // run.parts.group.size)


def resize(run: TrainingRun, found: FoundCheckpoint | None) -> None:
    """Where another number of ranks goes on with a run, updates keep the samples that they had."""
    if found is not None:
        was = BatchSizes(**found.manifest.sizes)
        asked = BatchSizes(1 if was.ready else run.batch_size, run.parts.group.size, run.parts.parallel.world_size)
        now = fit_to_ranks(was, asked)
        if now != asked:
            run.batch_size = run.batch_size if was.ready else now.batch_size
            run.parts.group.resize(now.micro)


def start(
    run: TrainingRun,
    settings: Settings,
    found: FoundCheckpoint | None,
    ours: dict[str, Any],
    config: str,
    claim: run_directory.RunLock,
) -> None:
    """Takes up what is to be resumed, and makes the run directory."""
    proof = FiniteCheck(run.unwrapped_model)
    resume(run, settings, found, ours, proof)
    out = None if settings.out is None else Path(settings.out)
    if found is not None:
        out = out or found.file.parent.parent
    if settings.dry_run:
        run.max_windows, run.epochs, run.held_out = 1, 1, None
        return
    parallel = run.parts.parallel
    if out is None and settings.checkpoint_every is not None:
        warnings.warn("checkpoint_every has no effect: nothing is written without out=DIR", AccelWarning, stacklevel=4)
    if settings.checkpoint_best is not None and run.held_out is None:
        raise ConfigError("checkpoint.best needs data to evaluate on, and there is none; leave it out, or give val")
    if out is not None:
        goes_on = found is not None and found.file.parent.resolve() == (out / FOLDER).resolve()
        claim.patience = run_directory.LEASE if run_directory.was_restarted(parallel.attempt) else 0.0
        if parallel.rank == 0:  # the first rank writes for all; the others hand it what is theirs
            run.created_folders = run_directory.create(out, config, claim, goes_on)
            run.out = out
        run.saver = Saver(run, out, settings, ours, proof)
        if found is not None and goes_on:
            run.saver.last_saved = run.saver.last_tried = found.file.stem
