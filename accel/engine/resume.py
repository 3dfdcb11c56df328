"""Resuming a run: which checkpoint, whether it is of the same run, and what to report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from accel.checkpoints import FOLDER, FoundCheckpoint, find, load, restore, sharded
from accel.checkpoints.batch_sizes import BatchSizes, fit_to_ranks, sizes_of
from accel.checkpoints.code import changed_code
from accel.checkpoints.discovery import AUTO
from accel.checkpoints.finite_check import FiniteCheck, tracked_state
from accel.checkpoints.identity import as_recorded, versions
from accel.checkpoints.manifest import SHARDS, Damaged
from accel.checkpoints.retention import CheckpointFolder, finished
from accel.engine.checks.resumed_run import NONFINITE, check_identity, check_left_out, refuse_other_draws
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Parallel
from accel.schema.settings import Settings
from accel.system.call_stack import warn_user
from accel.system.faults import point
from accel.system.shell_quoting import override

__all__ = [
    "find_on_every_rank",
    "finite_before",
    "gather_shards",
    "keep_update_size",
    "load_checkpoint",
    "load_state",
    "locate",
    "report_resumption",
    "resume",
    "warn_in_plan",
]


def locate(settings: Settings, parallel: Parallel) -> tuple[Settings, FoundCheckpoint | None]:
    """Return the settings to go on with and the checkpoint to go on from, the same on every rank; None if the run begins.

    Every rank must call it. Processes that torchrun started anew go on from the last checkpoint that they saved, without being
    told; if there is none, they begin where they began before.

    Raises:
        ConfigError: as `find` does; on every rank, if any rank cannot read the checkpoint.
    """
    out = settings.out
    if out is None and settings.resume not in (None, AUTO):
        path = Path(settings.resume)
        out = str(path.parent.parent if path.suffix == ".pt" else path)
    if parallel.attempt > 0 and out is not None and (settings.resume is None or finished(Path(out, FOLDER))):
        settings = replace(settings, resume=AUTO, out=out)
    return settings, None if settings.resume is None else find_on_every_rank(settings.resume, settings.out, parallel)


def find_on_every_rank(resume: str, out: str | None, parallel: Parallel) -> FoundCheckpoint | None:
    """Let rank 0 find the checkpoint, and every other rank load the same one. Raise ConfigError on all if one cannot."""
    checkpoint, failure = None, ""
    if parallel.rank == 0:
        try:
            checkpoint = find(resume, None if out is None else Path(out))
        except ConfigError as error:
            failure = str(error)
    file, failure = parallel.gather((None if checkpoint is None else str(checkpoint.file), failure))[0]
    if parallel.rank > 0 and file is not None:
        try:
            checkpoint = load(Path(file))
        except (Damaged, PermissionError) as error:
            failure = f"resume={resume}: rank {parallel.rank} cannot read {file}, which the first can: it {error}"
    if failure := next(filter(None, parallel.gather(failure)), ""):
        raise ConfigError(failure)
    return checkpoint


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


def resume(
    run: TrainingRun,
    settings: Settings,
    checkpoint: FoundCheckpoint | None,
    identity: dict[str, Any],
    finite_check: FiniteCheck,
) -> None:
    """Load the state of a checkpoint into a run that is set up.

    Args:
        run: the run.
        settings: its settings, as `locate` returns them.
        checkpoint: the checkpoint, as `locate` returns it; None if nothing is resumed, or nothing was saved yet.
        identity: what the run computes; it must be what the checkpoint's run computed.
        finite_check: the check made of the model before its first update.

    Raises:
        ConfigError: if the checkpoint is of another run.
    """
    if settings.resume is None:
        if set(settings.allow) - {NONFINITE}:
            warn_in_plan(run, "resume.allow has no effect: nothing is resumed without resume=auto, or resume=DIR")
        return
    label = f"resume={settings.resume}"
    if checkpoint is None:
        run.plan.facts["resume"] = "no checkpoint yet: from the beginning"
        warn_in_plan(run, f"{label}: {settings.out} holds no checkpoint yet; the run begins")
        return
    check_identity(settings, checkpoint, as_recorded(checkpoint.manifest.identity, identity, getattr(run.train, "data", None)))
    point("resuming.compared")
    doubtful, sentences = load_checkpoint(run, settings, checkpoint, finite_check)
    point("resuming.restored")
    before = BatchSizes(**checkpoint.manifest.sizes).step
    check_left_out(run, before)
    # of an epoch, the same samples are consumed, however many ranks there were
    run.progress.batch = run.progress.batch * before // sizes_of(run).step
    report_resumption(run, label, checkpoint, doubtful)
    for sentence in sentences:
        warn_in_plan(run, f"{label}: {sentence}")
    if code := changed_code(checkpoint.manifest.identity, identity, settings.allow):
        warn_in_plan(run, f"{label}: {code}")


def load_checkpoint(
    run: TrainingRun, settings: Settings, checkpoint: FoundCheckpoint, finite_check: FiniteCheck
) -> tuple[bool, list[str]]:
    """Load the state of a checkpoint into a run, whose identity has been compared. The arguments are those of `resume`.

    Returns:
        Whether the state holds numbers that are not finite, and sentences on what could not be loaded.

    Raises:
        ConfigError: if a part cannot take its state.
    """
    label = f"resume={settings.resume}"
    state = load_state(label, checkpoint, run.parts.parallel)
    try:
        # a loss that was not finite, of an update that moved nothing, is no reason to go back
        doubtful = not checkpoint.manifest.finite and not finite_check({**state, "loss": None}, tracked_state(run.parts))
        refuse_other_draws(run, settings, state)
        state = gather_shards(checkpoint, state, run.parts.parallel)
        return doubtful, restore(run, state, checkpoint.manifest.progress)
    except Exception as error:  # another model, or another optimiser: whatever the parts trip over
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{label}: the checkpoint is of another model or optimiser ({reason})") from error


def load_state(label: str, checkpoint: FoundCheckpoint, parallel: Parallel) -> dict[str, Any]:
    """Return the state in a checkpoint. Raise ConfigError on every rank if one rank cannot read it any more."""
    state, failure = dict[str, Any](), ""
    try:
        state = checkpoint.state()
    except Damaged as error:
        failure = f"{label}: {checkpoint.file.stem} was whole when it was found, and now {error}; look after its disk"
    if failure := next(filter(None, parallel.gather(failure)), ""):
        raise ConfigError(failure)
    return state


def gather_shards(checkpoint: FoundCheckpoint, state: dict[str, Any], parallel: Parallel) -> dict[str, Any]:
    """Return `state` with the tensors that several processes wrote in shards, spread over the processes of this run."""
    folder = checkpoint.file.with_suffix(SHARDS)
    if any(name.startswith(f"{folder.name}/") for name in checkpoint.manifest.files):
        state = sharded.load_sharded(state, folder, parallel.mesh, parallel.saving)
    return state


def report_resumption(run: TrainingRun, label: str, checkpoint: FoundCheckpoint, doubtful: bool) -> None:
    """Report the checkpoint, those passed over, and what may differ from before, in the plan and as warnings.

    Args:
        run: the run, its state loaded.
        label: the override that asked for it, such as `resume=auto`.
        checkpoint: the checkpoint taken.
        doubtful: whether its state holds numbers that are not finite.
    """
    name = checkpoint.file.stem
    fact = f"{name} of {checkpoint.file.parent.parent}"
    for skipped, reason in checkpoint.skipped.items():
        warn_in_plan(run, f"{label}: skipped {skipped}: it {reason}; going on from {name}")
        fact += f"; skipped {skipped}, which {reason}"
    run.plan.facts["resume"] = fact
    before, now = checkpoint.manifest.versions, versions(run.device)
    changes = [f"{key} was {before[key]} and is {now[key]}" for key in now if before.get(key, now[key]) != now[key]]
    if changes:
        warn_in_plan(run, f"{label}: {', '.join(changes)}; the last bits of the result may differ")
    if doubtful:
        older = finite_before(checkpoint.file)
        fix = f"; go back to the last that is finite with {override('resume', older)}" if older else ""
        warn_in_plan(run, f"{label}: {name} holds numbers that are not finite{fix}")
    if run.progress.epoch > run.epochs:
        warn_in_plan(run, f"{label}: {run.progress.epoch} epochs are done already, so epochs={run.epochs} trains no more")
    elif run.updates is not None and run.length.last_update is not None and run.progress.step >= run.updates:
        warn_in_plan(run, f"{label}: {run.progress.step:,} updates are done already, so a run of {run.updates:,} trains no more")
    if reason := run.length.end_reason(run):
        warn_in_plan(run, f"{label}: the run has ended early ({reason}), and trains no more; give what ended it other settings")


def finite_before(file: Path) -> Path | None:
    """Return the newest checkpoint before `file` that is known to be finite; None if there is none."""
    finite = [name for name in CheckpointFolder(file.parent, 1, None).finite() if name < file.stem]
    return file.with_name(f"{finite[-1]}.pt") if finite else None


def warn_in_plan(run: TrainingRun, sentence: str) -> None:
    """Add a warning to the plan and emit it, once for all ranks."""
    if run.parts.parallel.rank == 0:
        run.plan.warnings.append(sentence)
        warn_user(sentence)
