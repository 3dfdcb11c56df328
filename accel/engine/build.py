"""From what the user gave to a run that is ready to start: the order in which things are made."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from accel.checkpoints import FOLDER, Found, Saver
from accel.checkpoints.batch_sizes import Sizes, fitted
from accel.checkpoints.finite_check import Proof
from accel.checkpoints.identity import content, identity
from accel.data.batches.bad_samples import Rule
from accel.data.batches.structure import count_classes
from accel.device.rng import Randomness
from accel.engine import run_directory as directory
from accel.engine.make_plan import make_plan
from accel.engine.preflight import refuse_lacking, refuse_surroundings, sound
from accel.engine.resume import resume, taken_up
from accel.engine.select_parts import KINDS, choose
from accel.engine.training_run import Built
from accel.errors import AccelWarning, ConfigError
from accel.parts import Activations, Compile, Layout, Parallel, Part
from accel.schema.settings import Settings
from accel.system.machine import resolve
from accel.system.stop_signals import Signals

if TYPE_CHECKING:
    from accel.trainer import Trainer


def build(trainer: Trainer, cleanup: ExitStack, signals: Signals) -> Built:
    """Makes everything, in the order of the sentence; writes nothing before all of it stands.

    Args:
        trainer: what the user gave.
        cleanup: is told what is to be closed when the run ends, however it ends.
        signals: what may ask the run to stop.

    Raises:
        ConfigError: for anything that cannot work, before a file is written.
    """
    settings = trainer.settings
    parts, watches = choose(trainer.plugins, trainer.watch)
    device = torch.device(resolve("auto") if settings.device == "auto" else settings.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={settings.device}: torch finds no CUDA device here; use device=cpu or device=auto")
    refuse_surroundings(device.type)
    plugins = [part for part in [*parts.all(), *watches] if type(part) not in KINDS.values()]
    refuse_lacking(plugins, device.type)

    claim = directory.Claim()
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
    run = Built(
        parts, sound(trainer.model()).to(device), trainer.loss, device, settings.seed, settings.epochs, settings.batch_size or 32,
        watches=watches, split=trainer.evaluates, command=trainer.command, signals=signals,
        bad=Rule(settings.bad_data, settings.bad_limit, hint=", or leave it out: bad_data=skip"),
        writes=settings.dry_run or settings.out is not None or settings.resume is not None,
        dry=settings.dry_run,
    )  # fmt: skip
    run.bare.zero_grad()  # whatever was left by a backward pass before
    settings, begun = taken_up(settings, parts.parallel)
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
            setattr(parts, name, KINDS[name]())
            set_up(run, getattr(parts, name))
    for watch in watches:
        watch.setup(run)

    run.plan = make_plan(run, plugins, skipped, trainer.bundled, run.train)
    for warning in run.plan.warnings:
        warnings.warn(warning, AccelWarning, stacklevel=3)
    run.random.part(settings.seed, parts.parallel.rank)
    ours = identity(run, plugins, trainer.identity(), run.contents)
    start(run, settings, begun, {**ours, "batch_size": settings.batch_size or 32}, trainer.config, claim)
    cleanup.callback(run.saver.close)  # first of all: it writes what the others hold
    return run


def set_up(run: Built, part: Part) -> None:
    """Sets a part up, and lets it wrap the model, where that is what it does."""
    part.setup(run)
    if isinstance(part, Layout | Compile | Activations | Parallel):
        run.model = part.model(run.model)


def open_data(run: Built, trainer: Trainer) -> None:
    """Opens the training and the held-out data, and counts batches and updates."""
    source, loader = run.parts.source, run.parts.loader
    data, held_out = trainer.data("train"), trainer.data(trainer.evaluates)
    run.random.adopt(data, held_out)
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
    if trainer.settings.batch_size is not None and not run.train.batched_here:
        warnings.warn("batch_size has no effect: the data comes in ready batches", AccelWarning, stacklevel=4)
    run.ordered = run.train.samples if run.train.ordered else None
    if trainer.settings.bad_data != "raise" and (run.train.ledger is None or getattr(run.train, "in_memory", False)):
        why = "the data is in memory, or comes in ready batches or as a stream, and not sample by sample"
        warnings.warn(f"bad_data has no effect: {why}", AccelWarning, stacklevel=4)
    run.batches, run.batched_here = run.train.count, run.train.batched_here
    run.updates = None if run.batches is None else run.epochs * -(-run.batches // run.parts.group.size)


def resize(run: Built, found: Found | None) -> None:
    """Where another number of ranks goes on with a run, updates keep the samples that they had."""
    if found is not None:
        was = Sizes(**found.record.sizes)
        asked = Sizes(1 if was.ready else run.batch_size, run.parts.group.size, run.parts.parallel.world_size)
        now = fitted(was, asked)
        if now != asked:
            run.batch_size = run.batch_size if was.ready else now.batch_size
            run.parts.group.resize(now.micro)


def start(run: Built, settings: Settings, found: Found | None, ours: dict[str, Any], config: str, claim: directory.Claim) -> None:
    """Takes up what is to be resumed, and makes the run directory."""
    proof = Proof(run.bare)
    resume(run, settings, found, ours, proof)
    out = None if settings.out is None else Path(settings.out)
    if found is not None:
        out = out or found.file.parent.parent
    if settings.dry_run:
        run.limit, run.epochs, run.held_out = 1, 1, None
        return
    parallel = run.parts.parallel
    if out is None and settings.checkpoint_every is not None:
        warnings.warn("checkpoint_every has no effect: nothing is written without out=DIR", AccelWarning, stacklevel=4)
    if settings.checkpoint_best is not None and run.held_out is None:
        raise ConfigError("checkpoint.best needs data to evaluate on, and there is none; leave it out, or give val")
    if out is not None:
        goes_on = found is not None and found.file.parent.resolve() == (out / FOLDER).resolve()
        claim.patience = directory.LEASE if directory.begun_anew(parallel.attempt) else 0.0
        if parallel.rank == 0:  # the first rank writes for all; the others hand it what is theirs
            run.new = directory.make(out, config, claim, goes_on)
            run.out = out
        run.saver = Saver(run, out, settings, ours, proof)
        if found is not None and goes_on:
            run.saver.saved = run.saver.begun = found.file.stem
