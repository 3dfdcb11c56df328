"""State of a run: captured from it, and restored."""

from __future__ import annotations

from typing import Any

from accel.checkpoints.state_kinds import check_kinds, check_tensors
from accel.checkpoints.weight_names import plain_state, with_names_of
from accel.device.dtensor import shard_like
from accel.parts import Progress, Run

__all__ = ["KINDS", "capture", "restore"]

KINDS = {"model": dict, "parts": dict, "rng": dict, "progress": dict, "history": list}


def capture(run: Run, progress: Progress) -> dict[str, Any]:
    """Return everything that a resumed run needs. Its tensors are the run's own, not copies.

    Every rank must call it: each has random numbers of its own.
    """
    rng, *others = run.parts.parallel.gather({"now": run.random.state(), "began": run.epoch_rng_state})
    rng["others"] = others
    parts = {part.name: part.state_dict() for part in [*run.parts.all(), *run.watches]}
    bad = {log.rule.dataset: dict(log.reasons) for log in run.bad_sample_logs()}
    return {
        "model": plain_state(run.unwrapped_model, run.unwrapped_model.state_dict()),
        "parts": plain_state(run.unwrapped_model, parts),
        "rng": rng,
        "progress": vars(progress),
        "history": run.history,
        "bad": bad,
    }


def restore(run: Run, state: dict[str, Any], recorded: dict[str, int] | None = None) -> None:
    """Put a captured state into a run that was built the same way, and free each piece of it once it is there.

    Args:
        run: the run.
        state: the state.
        recorded: the progress that the checkpoint's manifest gives; None for any.

    Raises:
        Exception: whatever the parts raise for a state that is not theirs.
    """
    if not all(isinstance(state.get(key), kind) for key, kind in KINDS.items()) or not all(map(_is_metrics, state["history"])):
        raise ValueError("it has other contents")
    if state["progress"] != (recorded or state["progress"]) or any(type(count) is not int for count in state["progress"].values()):
        raise ValueError("it is of another update than its .json")
    progress = Progress(**state["progress"])  # an unknown name is an error
    state |= {key: with_names_of(run.unwrapped_model, state.pop(key)) for key in ("model", "parts")}
    check_tensors(state)
    for part in [*run.parts.all(), *run.watches]:
        if part.name in state["parts"]:
            check_kinds(state["parts"][part.name], part.state_dict(), part.name)
    current = run.unwrapped_model.state_dict()
    run.unwrapped_model.load_state_dict({name: shard_like(value, current.get(name)) for name, value in state.pop("model").items()})
    for part in [*run.parts.all(), *run.watches]:
        if part.name in state["parts"]:
            part.load_state_dict(state["parts"].pop(part.name))
    vars(run.progress).update(vars(progress))
    run.history[:] = state["history"]
    for log in run.bad_sample_logs():
        log.reasons |= state.get("bad", {}).get(log.rule.dataset, {})
    rank, rng = run.parts.parallel.rank, state["rng"]
    ranks = [rng, *rng["others"]]
    if rank < len(ranks):
        run.epoch_rng_state = ranks[rank]["began"]
        run.random.restore(ranks[rank]["now"])
    else:  # there are more ranks now than there were
        run.random.fork_for_rank(run.seed, rank, run.progress.step)
        run.epoch_rng_state = run.random.state()


def _is_metrics(row: Any) -> bool:
    return isinstance(row, dict) and all(type(name) is str and type(value) in (int, float) for name, value in row.items())
