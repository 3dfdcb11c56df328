"""Going on with a run: from which checkpoint, whether it is the same run, and what to say of it."""

from __future__ import annotations

import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel.checkpoints import Found, find, restore
from accel.checkpoints.proof import Proof, roles
from accel.checkpoints.shelf import Shelf
from accel.errors import AccelWarning, ConfigError
from accel.faults import point
from accel.identity import differences, refused, unknown, versions
from accel.shell import override

if TYPE_CHECKING:
    from accel.build import Built
    from accel.settings import Settings


def resume(run: Built, settings: Settings, ours: dict[str, Any], proof: Proof) -> Found | None:
    """Puts back what a checkpoint holds, where the settings ask for one; None where the run begins.

    Raises:
        ConfigError: where there is none, none is whole, or it is of another run.
    """
    if settings.resume is None:
        if settings.allow:
            _say(run, "resume.allow has no effect: nothing is resumed without resume=auto, or resume=DIR")
        return None
    said = f"resume={settings.resume}"
    found = find(settings.resume, None if settings.out is None else Path(settings.out))
    # ranks that see different files must not go on from different updates
    chosen = run.parts.parallel.gather(None if found is None else found.file.name)
    if len(set(chosen)) > 1:
        names = " and ".join(sorted(map(str, set(chosen))))
        raise ConfigError(f"{said}: the ranks find {names}; let all of them see the same folder")
    if found is None:
        run.plan.facts["resume"] = "no checkpoint yet: from the beginning"
        _say(run, f"{said}: {settings.out} holds no checkpoint yet; the run begins")
        return None
    same_run(settings, found, ours)
    point("resuming.compared")
    try:
        restore(run, found.state)
    except Exception as error:  # another model, or another optimiser: whatever the parts trip over
        why = " ".join(str(error).split())[:200]
        raise ConfigError(f"{said}: the checkpoint is of another model or optimiser ({why})") from error
    point("resuming.restored")
    tell(run, said, found, proof)
    return found


def same_run(settings: Settings, found: Found, ours: dict[str, Any]) -> None:
    """Raises ConfigError where the checkpoint is of a run that computes something else, and nobody has accepted that."""
    odd = unknown(settings.allow, found.record.identity, ours)
    if odd:
        raise ConfigError(f"resume.allow: {odd}")
    changed = differences(found.record.identity, ours)
    left = refused(changed, settings.allow)
    if left:
        told = "; ".join(f"{key} {words}" for key, words in left.items())
        allow = shlex.quote(f"resume.allow=[{','.join([*settings.allow, *left])}]")
        raise ConfigError(f"resume={settings.resume}: {told}; go on with what the run began with, or accept the change: {allow}")


def tell(run: Built, said: str, found: Found, proof: Proof) -> None:
    """What was taken, what was passed over, and what may be other than before: in the plan, and as warnings."""
    fact = f"{found.file.stem} of {found.file.parent.parent}"
    for name, reason in found.skipped.items():
        _say(run, f"{said}: skipped {name}: it {reason}; going on from {found.file.stem}")
        fact += f"; skipped {name}, which {reason}"
    run.plan.facts["resume"] = fact
    was, now = found.record.versions, versions(run.device)
    others = [f"{name} was {was[name]} and is {now[name]}" for name in now if was.get(name, now[name]) != now[name]]
    if others:
        _say(run, f"{said}: {', '.join(others)}; the last bits of the result may differ")
    # a loss that was not finite, of an update that moved nothing, is no reason to go back
    if not found.record.finite and not proof({**found.state, "loss": None}, roles(run.parts)):
        older = _finite_before(found.file)
        fix = f"; go back to the last that is finite with {override('resume', older)}" if older else ""
        _say(run, f"{said}: {found.file.stem} holds numbers that are not finite{fix}")
    if run.progress.epoch > run.epochs:
        _say(run, f"{said}: {run.progress.epoch} epochs are done already, so epochs={run.epochs} trains no more")


def _finite_before(file: Path) -> Path | None:
    records = Shelf(file.parent, 1, None).records
    finite = [name for name in sorted(records) if records[name].finite and name < file.stem]
    return file.with_name(f"{finite[-1]}.pt") if finite else None


def _say(run: Built, sentence: str) -> None:
    if run.parts.parallel.rank == 0:
        run.plan.warnings.append(sentence)
        warnings.warn(sentence, AccelWarning, stacklevel=6)
