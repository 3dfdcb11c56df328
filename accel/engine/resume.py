"""Going on with a run: from which checkpoint, whether it is the same run, and what to say of it."""

from __future__ import annotations

import shlex
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.checkpoints import FOLDER, FoundCheckpoint, find, load, restore, sharded
from accel.checkpoints.batch_sizes import BatchSizes, sizes_of
from accel.checkpoints.discovery import AUTO
from accel.checkpoints.finite_check import FiniteCheck, tracked_state
from accel.checkpoints.identity import differences, refused, unknown, versions
from accel.checkpoints.manifest import SHARDS, Damaged
from accel.checkpoints.retention import CheckpointFolder, finished
from accel.errors import AccelWarning, ConfigError
from accel.parts import Parallel
from accel.system.faults import point
from accel.system.shell_quoting import override

if TYPE_CHECKING:
    from accel.engine.training_run import TrainingRun
    from accel.schema.settings import Settings

__all__ = ["check_identity", "gather_shards", "load_state", "locate", "report_resumption", "resume"]


def locate(settings: Settings, parallel: Parallel) -> tuple[Settings, FoundCheckpoint | None]:
    """The checkpoint that a run goes on from, the same on every rank; None where it begins. Every rank must ask.

    Processes that torchrun has begun anew go on from the last that they have saved, without being told; they begin where they
    died before that. Also what the settings then come to.

    Raises:
        ConfigError: as `find`; on every rank what the first has found.
    """
    home = settings.out
    if home is None and settings.resume not in (None, AUTO):
        given = Path(settings.resume)
        home = str(given.parent.parent if given.suffix == ".pt" else given)
    if parallel.attempt > 0 and home is not None and (settings.resume is None or finished(Path(home, FOLDER))):
        settings = replace(settings, resume=AUTO, out=home)
    if settings.resume is None:
        return settings, None
    found, wrong = None, ""
    if parallel.rank == 0:
        try:
            found = find(settings.resume, None if settings.out is None else Path(settings.out))
        except ConfigError as error:
            wrong = str(error)
    file, wrong = parallel.gather((None if found is None else str(found.file), wrong))[0]
    if parallel.rank > 0 and file is not None:
        try:
            found = load(Path(file))
        except (Damaged, PermissionError) as error:
            wrong = f"resume={settings.resume}: rank {parallel.rank} cannot read {file}, which the first can: it {error}"
    if wrong := next(filter(None, parallel.gather(wrong)), ""):
        raise ConfigError(wrong)
    return settings, found


def resume(run: TrainingRun, settings: Settings, found: FoundCheckpoint | None, ours: dict[str, Any], proof: FiniteCheck) -> None:
    """Puts back what a checkpoint holds.

    Raises:
        ConfigError: where it is of another run.
    """
    if settings.resume is None:
        if settings.allow:
            _say(run, "resume.allow has no effect: nothing is resumed without resume=auto, or resume=DIR")
        return
    said = f"resume={settings.resume}"
    if found is None:
        run.plan.facts["resume"] = "no checkpoint yet: from the beginning"
        _say(run, f"{said}: {settings.out} holds no checkpoint yet; the run begins")
        return
    check_identity(settings, found, ours)
    point("resuming.compared")
    state = load_state(said, found, run.parts.parallel)
    try:
        # a loss that was not finite, of an update that moved nothing, is no reason to go back
        doubtful = not found.manifest.finite and not proof({**state, "loss": None}, tracked_state(run.parts))
        state = gather_shards(found, state, run.parts.parallel)
        restore(run, state)
    except Exception as error:  # another model, or another optimiser: whatever the parts trip over
        why = " ".join(str(error).split())[:200]
        raise ConfigError(f"{said}: the checkpoint is of another model or optimiser ({why})") from error
    point("resuming.restored")
    # of an epoch, the same samples are consumed, however many ranks there were
    run.progress.batch = run.progress.batch * BatchSizes(**found.manifest.sizes).step // sizes_of(run).step
    report_resumption(run, said, found, doubtful)


def load_state(said: str, found: FoundCheckpoint, parallel: Parallel) -> dict[str, Any]:
    """The state of a checkpoint that was found. Raises ConfigError on every rank, where one cannot read it any more."""
    state, wrong = dict[str, Any](), ""
    try:
        state = found.state()
    except Damaged as error:
        wrong = f"{said}: {found.file.stem} was whole when it was found, and now {error}; look after its disk"
    if wrong := next(filter(None, parallel.gather(wrong)), ""):
        raise ConfigError(wrong)
    return state


def gather_shards(found: FoundCheckpoint, state: dict[str, Any], parallel: Parallel) -> dict[str, Any]:
    """The same with what several processes wrote in pieces, spread over those that there are now."""
    folder = found.file.with_suffix(SHARDS)
    if any(name.startswith(f"{folder.name}/") for name in found.manifest.files):
        state = sharded.load_sharded(state, folder, parallel.mesh, parallel.saving)
    return state


def check_identity(settings: Settings, found: FoundCheckpoint, ours: dict[str, Any]) -> None:
    """Raises ConfigError where the checkpoint is of a run that computes something else, and nobody has accepted that."""
    odd = unknown(settings.allow, found.manifest.identity, ours)
    if odd:
        raise ConfigError(f"resume.allow: {odd}")
    changed = differences(found.manifest.identity, ours)
    left = refused(changed, settings.allow)
    if left:
        told = "; ".join(f"{key} {words}" for key, words in left.items())
        allow = shlex.quote(f"resume.allow=[{','.join([*settings.allow, *left])}]")
        raise ConfigError(f"resume={settings.resume}: {told}; go on with what the run began with, or accept the change: {allow}")


def report_resumption(run: TrainingRun, said: str, found: FoundCheckpoint, doubtful: bool) -> None:
    """What was taken, what was passed over, and what may be other than before: in the plan, and as warnings.

    `doubtful` is whether it holds numbers that are not finite.
    """
    fact = f"{found.file.stem} of {found.file.parent.parent}"
    for name, reason in found.skipped.items():
        _say(run, f"{said}: skipped {name}: it {reason}; going on from {found.file.stem}")
        fact += f"; skipped {name}, which {reason}"
    run.plan.facts["resume"] = fact
    was, now = found.manifest.versions, versions(run.device)
    others = [f"{name} was {was[name]} and is {now[name]}" for name in now if was.get(name, now[name]) != now[name]]
    if others:
        _say(run, f"{said}: {', '.join(others)}; the last bits of the result may differ")
    if doubtful:
        older = _finite_before(found.file)
        fix = f"; go back to the last that is finite with {override('resume', older)}" if older else ""
        _say(run, f"{said}: {found.file.stem} holds numbers that are not finite{fix}")
    if run.progress.epoch > run.epochs:
        _say(run, f"{said}: {run.progress.epoch} epochs are done already, so epochs={run.epochs} trains no more")


def _finite_before(file: Path) -> Path | None:
    finite = [name for name in CheckpointFolder(file.parent, 1, None).finite() if name < file.stem]
    return file.with_name(f"{finite[-1]}.pt") if finite else None


def _say(run: TrainingRun, sentence: str) -> None:
    if run.parts.parallel.rank == 0:
        run.plan.warnings.append(sentence)
        warnings.warn(sentence, AccelWarning, stacklevel=6)
