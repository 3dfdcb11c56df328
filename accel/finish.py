"""The end of a run: final weights, summary, watches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_model
from torch import Tensor

from accel.checkpoint import write
from accel.clock import CHECKPOINT, OTHER
from accel.result import Result
from accel.shell import override

if TYPE_CHECKING:
    from accel.build import Built

WEIGHTS, SUMMARY = "model.safetensors", "summary.json"


def finish(run: Built, loss: Tensor | None) -> Result:
    """Hands the averaged weights to the model, writes them and the summary, tells the watches, and returns the Result."""
    with run.parts.average.weights(run.bare):
        final = {name: tensor.clone() for name, tensor in run.bare.state_dict().items()}
    run.bare.load_state_dict(final)
    if run.out is not None:
        temporary = run.out / f".{WEIGHTS}.part"
        save_model(run.bare, str(temporary))
        write(run.out / WEIGHTS, temporary.read_bytes())
        temporary.unlink()
    run.clock.lap(CHECKPOINT)
    skipped = run.parts.precision.skipped
    last = run.history[-1] if run.history else {}
    result = Result(
        model=run.bare,
        metrics={name: value for name, value in last.items() if name != "epoch"},
        split=run.split,
        history=run.history,
        loss=float("nan") if loss is None else float(loss),
        epochs=run.progress.epoch,
        updates=run.progress.step,
        skipped=0 if skipped is None else int(skipped),
        samples=run.progress.samples,
        out=run.out,
        resume=f"{run.command} {override('resume', run.out)}" if run.out and run.command else "",
        dry=run.limit is not None,
    )
    for watch in run.watches:
        watch.end(result)
    run.clock.lap(OTHER)
    result.seconds, result.shares = sum(run.clock.spent), run.clock.shares()
    if run.out is not None:
        result.files = sorted({*files(run.out), SUMMARY})
        write(run.out / SUMMARY, json.dumps(result.summary(), indent=1, allow_nan=False).encode())
    return result


def files(out: Path) -> list[str]:
    """What a run directory holds, relative to it."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
