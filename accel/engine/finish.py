"""The end of a run: final weights, summary, watches."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor

from accel.data.batches.bad_samples import SHOWN, BadSampleLog
from accel.engine.data_advice import data_flow
from accel.engine.run_directory import LOCK
from accel.errors import AccelWarning
from accel.report.result import Result, Section
from accel.system import atomic_files, disk_errors
from accel.system.clock import CHECKPOINT, OTHER
from accel.system.shell_quoting import override

if TYPE_CHECKING:
    from accel.engine.training_run import TrainingRun

DONE = {"skip": "left out", "substitute": "replaced by others", "raise": "an error"}
WEIGHTS, SUMMARY = "model.safetensors", "summary.json"


def finish(run: TrainingRun, loss: Tensor | None) -> Result:
    """Hands the averaged weights to the model, writes them and the summary, tells the watches, and returns the Result."""
    run.parts.precision.release()  # what is handed out is what was trained, not what it was rounded to for the products
    with run.weights():
        final = {
            name: value.clone() if isinstance(value, Tensor) else value for name, value in run.unwrapped_model.state_dict().items()
        }
    run.unwrapped_model.load_state_dict(final)
    model = run.parts.parallel.whole(run.unwrapped_model)
    unsaved: dict[str, str] = {}
    if (why := run.saver.wait()) != "":
        unsaved[run.saver.last_tried] = why
    if run.out is not None:
        with record_disk_error(unsaved, WEIGHTS):
            atomic_files.write(run.out / WEIGHTS, save(storable_tensors(model.state_dict())), "saving.weights")
    run.clock.lap(CHECKPOINT)
    skipped = run.parts.guard.skipped
    last = run.history[-1] if run.history else {}
    result = Result(
        model=model,
        metrics={name: value for name, value in last.items() if name != "epoch"},
        split=run.evaluation_split,
        history=run.history,
        loss=float("nan") if loss is None else float(loss),
        epochs=run.progress.epoch,
        updates=run.progress.step,
        skipped=0 if skipped is None else int(skipped),
        samples=run.progress.samples,
        bad={ledger.rule.what: len(ledger.reasons) for ledger in run.bad_sample_logs() if ledger.rule.policy != "raise"},
        sections=bad_sample_section(run.bad_sample_logs()),
        suggestions=run.parts.probe.suggestions(),
        remarks=[remark for part in [*run.parts.all(), *run.watches] for remark in part.summary_notes()],
        out=run.out,
        resume=f"{run.command} {override('resume', run.out)}" if run.out and run.command else "",
        dry=run.max_windows is not None,
        unsaved=unsaved,
    )
    for watch in run.watches:
        with record_disk_error(unsaved, f"what {watch.name} writes"):
            watch.end(result)
    run.clock.lap(OTHER)
    result.flow = data_flow(run)
    result.seconds, result.shares = sum(run.clock.spent), run.clock.shares()
    if run.out is not None:
        result.files = sorted({*list_files(run.out), SUMMARY})
        with record_disk_error(unsaved, SUMMARY):
            text = json.dumps(result.summary(), indent=1, allow_nan=False)
            atomic_files.write(run.out / SUMMARY, text.encode(), "saving.summary")
        if SUMMARY in unsaved:
            result.files.remove(SUMMARY)
    return result


@contextmanager
def record_disk_error(unsaved: dict[str, str], what: str) -> Iterator[None]:
    """Notes under `what` why the disk did not take it: a run that has been trained must not end with a traceback for that."""
    try:
        yield
    except OSError as error:
        unsaved[what] = disk_errors.disk_reason(error)
        warnings.warn(f"{what} could not be written: {unsaved[what]}", AccelWarning, stacklevel=4)


def bad_sample_section(ledgers: Sequence[BadSampleLog]) -> dict[str, Section]:
    """A table of the first few samples that could not be read, under how many they were; empty where there was none."""
    bad = [ledger for ledger in ledgers if ledger.reasons]
    if not bad:
        return {}
    counts = [
        f"{len(ledger.reasons):,} of {ledger.samples:,} {ledger.rule.what} samples could not be read and were "
        f"{DONE[ledger.rule.policy]}"
        for ledger in bad
    ]
    rows: list[dict[str, str | int | float]] = [
        {"data": ledger.rule.what, "sample": sample, "why": why}
        for ledger in bad
        for sample, why in list(ledger.reasons.items())[:SHOWN]
    ]
    return {"bad_data": Section(f"bad data: {'; '.join(counts)}", rows)}


def storable_tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """What safetensors can hold of a state: dense tensors, on their own, and tied ones once. Warns about what is left out.

    A run that has been trained must not fail here, as `safetensors.torch.save_model` does over anything else.
    """
    found: dict[Any, tuple[str, Tensor]] = {}
    for name, value in state.items():
        if isinstance(value, Tensor) and value.layout == torch.strided:
            place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride()) if value.numel() else name
            found.setdefault(place, (name, value))
        else:
            warnings.warn(
                f"{WEIGHTS} is without {name}, which is no dense tensor; the checkpoints have it", AccelWarning, stacklevel=5
            )
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in found.values()}


def list_files(out: Path) -> list[str]:
    """What a run directory holds, relative to it."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != LOCK)
