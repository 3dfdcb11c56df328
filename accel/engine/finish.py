"""End of a run: final weights, result, summary, last words to the watches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn

from accel.checkpoints.finite_check import BITS
from accel.checkpoints.manifest import name_of
from accel.checkpoints.weights import BEST, read_best, write_weights
from accel.checkpoints.weights.find_weights import SHIPPED, WEIGHTS
from accel.checkpoints.weights.weight_names import plain_state, unwrap
from accel.checkpoints.weights.weights_file import structure_facts
from accel.data.batches.bad_samples import MAX_EXAMPLES, BadSampleLog
from accel.device.cuda.pinned_memory import refusal_remarks
from accel.device.dtensor import local_shard
from accel.device.memory_peak import highest_memory
from accel.engine.advice.busy_machine import remark_on_other_load
from accel.engine.shaping.shipped_weights import write_shipped
from accel.engine.training_run import TrainingRun
from accel.parts.model_shape.model_structure import structure_of
from accel.parts.run import metrics_of
from accel.report.record.run_files import LOCK
from accel.report.result import Best, Result, Section
from accel.system import atomic_files, disk_errors
from accel.system.call_stack import warn_user
from accel.system.clock import CHECKPOINT, REPORT
from accel.system.shell_quoting import override

__all__ = [
    "OUTCOMES",
    "SUMMARY",
    "bad_sample_section",
    "best_of",
    "divergence",
    "final_model",
    "finish",
    "list_files",
    "make_result",
    "record_disk_error",
    "resume_words",
    "warn_of_left_out",
    "write_summary",
]

OUTCOMES = {"skip": "left out", "substitute": "replaced by others", "raise": "an error"}
"""What became of unreadable samples, by the rule for them."""
SUMMARY = "summary.json"


def finish(run: TrainingRun, loss: Tensor | None) -> Result:
    """Give the model its final weights, write them and the summary, tell the watches, and return the result.

    Args:
        run: the run, all of its epochs done.
        loss: the mean loss of the last update, 0-dim; None if this process made no update.
    """
    run.parts.objective.item_counts.exchange(wait=True)
    model = final_model(run)
    run.freezing.release(model)
    unsaved = run.saver.unsaved
    if (reason := run.saver.wait()) != "":
        unsaved[run.saver.last_tried] = reason
    if run.out is not None:
        moment = name_of(run.progress.step, run.progress.epoch)
        with record_disk_error(unsaved, WEIGHTS):
            state = plain_state(model, model.state_dict())
            facts = {"checkpoint": moment, **structure_facts(structure_of(run))}
            write_weights(run.out / WEIGHTS, state, "saving.weights", warn_of_left_out, **facts)
        with record_disk_error(unsaved, SHIPPED):
            write_shipped(run, model, moment)
    run.clock.lap(CHECKPOINT)
    result = make_result(run, model, loss, unsaved)
    result.divergence = "" if result.dry else divergence(run, result)
    if result.divergence:
        result.finite = False
        if not run.command and not run.accepts_nonfinite:  # the command line ends with it
            warn_user(result.divergence)
    if result.empty and result.empty == result.updates and not result.dry:
        warn_user("no update moved the weights, for the loss returned n_items=0 in each; look at what it counts")
    for watch in run.watches:
        with record_disk_error(unsaved, f"what {watch.name} writes"):
            watch.end(result)
    run.clock.lap(REPORT)
    run.add_times(result)
    result.memory = highest_memory(run.device)
    result.remarks += [*remark_on_other_load(run, result.seconds), *refusal_remarks()]
    for watch in run.watches:
        with record_disk_error(unsaved, f"what {watch.name} writes"):
            watch.completed(result)
    result.drawing = run.clock.aside
    if run.out is not None:
        write_summary(run.out, result)
    return result


def final_model(run: TrainingRun) -> nn.Module:
    """Load the weights to hand out (the average, if one is kept) into the user's model, and return it, whole on every rank.

    A model that the user has compiled or wrapped is handed out as the module inside.
    """
    run.parts.precision.release()  # the weights as they were trained, not as they were rounded for the products
    with run.weights():
        state = run.unwrapped_model.state_dict()
        final = {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}
    run.unwrapped_model.load_state_dict(final)
    return unwrap(run.parts.parallel.whole(run.unwrapped_model))


def make_result(run: TrainingRun, model: nn.Module, loss: Tensor | None, unsaved: dict[str, str]) -> Result:
    """Return the result of a run, still without times, data flow and files."""
    skipped, logs = run.parts.guard.skipped, run.bad_sample_logs()
    empty = run.parts.objective.item_counts.empty_count
    last = run.history[-1] if run.history else {}
    return Result(
        model=model,
        metrics=metrics_of(last),
        split=run.evaluation_split,
        history=run.history,
        loss=float("nan") if loss is None else float(loss),
        best=best_of(run),
        epochs=run.progress.epoch,
        updates=run.progress.step,
        skipped=empty if skipped is None else int(skipped),
        empty=empty,
        samples=run.progress.samples,
        bad={log.rule.dataset: len(log.reasons) for log in logs if log.rule.policy != "raise"},
        sections=bad_sample_section(logs),
        suggestions=run.parts.probe.suggestions(),
        remarks=[note for part in [*run.parts.all(), *run.watches] for note in part.summary_notes()],
        out=run.out,
        stopped=next(filter(None, run.parts.parallel.gather(run.length.end_reason(run))), ""),  # clocks of ranks differ
        resume=f"{run.command} {resume_words(run)}" if run.out and run.command else "",
        dry=run.max_windows is not None,
        unsaved=unsaved,
        provenance=run.plan.provenance,
    )


def divergence(run: TrainingRun, result: Result) -> str:
    """Return a sentence if the run ended with weights or a loss that are not finite; an empty text otherwise. All ranks call it.

    A loss that is not finite is none if updates were skipped for it: such an update has moved nothing.
    """
    plain = plain_state(run.unwrapped_model, run.unwrapped_model.state_dict())
    state = {(name,): value for name, value in plain.items() if isinstance(value, Tensor)}
    tensors = [local_shard(value) for name, value in state.items() if name not in run.infinite_at_start]
    floating = [value for value in tensors if value.layout == torch.strided and value.dtype in BITS and value.numel()]
    what = ""
    if floating and not bool(torch.stack([value.isfinite().all() for value in floating]).all()):
        what = "weights that are"
    elif result.updates > run.first_step and not isfinite(result.loss) and result.skipped == result.empty:
        what = "a last loss that is"
    others = run.parts.parallel.gather(what)
    if not (what := what or next(filter(None, others), "")):
        return ""
    newest = run.saver.newest_finite() if run.out is not None else None
    fix = f"; the last checkpoint that is finite: {override('resume', newest)}" if newest is not None else ""
    return f"the run ended with {what} not finite: lower the learning rate, or clip{fix}"


def best_of(run: TrainingRun) -> Best | None:
    """Return the best evaluation by `checkpoint.best` whose weights are on the disk; None if there is none."""
    if run.out is None or run.saver.best is None:
        return None
    facts = read_best(run.out / BEST)
    if facts.get("metric") != run.saver.best.metric:
        return None
    return Best(facts["metric"], float(facts["value"]), int(facts["epoch"]), run.out / BEST, facts["checkpoint"])


def resume_words(run: TrainingRun) -> str:
    """Return the overrides that go on from here; where the disk took no checkpoint, those that begin anew."""
    return override("resume", run.out) if run.saver.last_saved else f"resume=auto {override('out', run.out)}"


def write_summary(out: Path, result: Result) -> None:
    """Write summary.json, which lists every file of the run directory, itself included."""
    with record_disk_error(result.unsaved, SUMMARY):
        result.files = sorted({*list_files(out), SUMMARY})
        text = json.dumps(result.summary(), indent=1, allow_nan=False)
        atomic_files.write(out / SUMMARY, text.encode(), "saving.summary")
    if SUMMARY in result.unsaved:
        result.files = [name for name in result.files if name != SUMMARY]


@contextmanager
def record_disk_error(unsaved: dict[str, str], name: str) -> Iterator[None]:
    """Record in `unsaved` why the disk refused `name`, and warn: a trained run must not end with a traceback for that."""
    try:
        yield
    except OSError as error:
        unsaved[name] = disk_errors.disk_reason(error)
        warn_user(f"{name} could not be written: {unsaved[name]}")


def bad_sample_section(logs: Sequence[BadSampleLog]) -> dict[str, Section]:
    """Return a table of the first unreadable samples, headed by their number; empty if there was none."""
    logs = [log for log in logs if log.reasons]
    if not logs:
        return {}
    counts = [
        f"{len(log.reasons):,} of {log.samples:,} {log.rule.dataset} samples could not be read and were {OUTCOMES[log.rule.policy]}"
        for log in logs
    ]
    rows: list[dict[str, str | int | float]] = [
        {"data": log.rule.dataset, "sample": sample, "why": reason}
        for log in logs
        for sample, reason in list(log.reasons.items())[:MAX_EXAMPLES]
    ]
    return {"bad_data": Section(f"bad data: {'; '.join(counts)}", rows)}


def warn_of_left_out(name: str) -> None:
    """Warn that a value of the model is in no file of weights."""
    warn_user(f"{WEIGHTS} is without {name}, which is no dense tensor; the checkpoints have it")


def list_files(out: Path) -> list[str]:
    """Return the files of a run directory, as sorted paths relative to it, without the lock."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file() and path.name != LOCK)
