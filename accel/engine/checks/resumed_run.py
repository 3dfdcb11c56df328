"""Checks of a run that goes on from a checkpoint: whether it is the run that wrote it."""

from __future__ import annotations

import re
from typing import Any

from accel.checkpoints import FoundCheckpoint
from accel.checkpoints.batch_sizes import sizes_of
from accel.checkpoints.identity import differences, refused, unknown
from accel.checkpoints.state import DRAWS
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.schema.settings import Settings
from accel.system.shell_quoting import override, quote

__all__ = ["LASTING", "NONFINITE", "check_identity", "check_left_out", "refuse_other_draws"]

NONFINITE = "nonfinite"
"""Name in `resume.allow` that accepts a run which ends with weights that are not finite."""
LASTING = re.compile(r"objectives(\.[\w-]+(\.parameters)?)?")
"""Names of differences that are never accepted: other objectives than before, and other parameters of one."""


def check_identity(settings: Settings, checkpoint: FoundCheckpoint, identity: dict[str, Any]) -> None:
    """Raise ConfigError if the checkpoint is of a run that computes something else, and the user has not accepted that."""
    saved = checkpoint.manifest.identity
    if misnamed := unknown([name for name in settings.allow if name != NONFINITE], saved, identity):
        raise ConfigError(f"resume.allow: {misnamed}")
    changes = differences(saved, identity)
    lasting = {key: change for key, change in changes.items() if LASTING.fullmatch(key)}
    changes = lasting or refused(changes, settings.allow)
    if not changes:
        return
    sentence = "; ".join(f"{key} {change}" for key, change in changes.items())
    allow = ",".join([*settings.allow, *changes])
    fix = f"accept the change: {quote(f'resume.allow=[{allow}]')}"
    if lasting:  # an optimiser has the state of its own parameters
        fix = f"begin a new run with its weights, {override('init', checkpoint.file)}; resume.allow cannot accept that"
    raise ConfigError(f"resume={settings.resume}: {sentence}; go on with what the run began with, or {fix}")


def check_left_out(run: TrainingRun, step: int) -> None:
    """Raise ConfigError if `drop_last` leaves out other samples than before, where `step` were in a micro-batch over all ranks."""
    samples, now = run.train.samples, sizes_of(run).step
    if run.train.share.drop_last and step != now and (samples is None or samples // step * step != samples // now * now):
        raise ConfigError(
            f"drop_last left out what was short of {step} samples before, and now that is {now}; start as many ranks as before"
        )


def refuse_other_draws(run: TrainingRun, settings: Settings, state: dict[str, Any]) -> None:
    """Let data that draws random numbers be refused, as soon as it does, if the checkpoint's run drew others.

    In older checkpoints such data drew from the generators as it was read. Which data draws is known when it is read.
    """
    randomness = getattr(run.train, "randomness", None)
    if randomness is None or state["rng"].get("draws") == DRAWS or not refused({"data.random": ""}, settings.allow):
        return
    allow = quote(f"resume.allow=[{','.join([*settings.allow, 'data'])}]")
    randomness.refusal = (
        f"resume={settings.resume}: the data draws random numbers, which came as it was read when the checkpoint was written, and "
        f"are those of each sample now; begin the run anew, or accept the change: {allow}"
    )
